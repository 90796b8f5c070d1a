"""What customers write. Free text in seven languages that mentions the writer's own data, as real tickets do."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from random import Random

    from hoop_mcp.onboarding.shop_people import Person

# Subject and body. A text that needs what its writer does not have (a phone, an account) is not chosen.
_TEXTS: dict[str, tuple[tuple[str, str], ...]] = {
    "en": (
        (
            "Where is {order}?",
            "Hello, my parcel {order} was due on Monday and has not come. You can call me on {phone}. {name}",
        ),
        (
            "Return of {order}",
            "I sent {order} back last week. Please refund it to {iban} and confirm to {email}. Thanks, {name}",
        ),
        (
            "Change of address",
            "Hi, {name} here. I have moved: the new address is {address}. My login is still {email}.",
        ),
        ("Broken on arrival", "The box of {order} was open and one part is broken. Photos follow from {email}. {name}"),
        ("Invoice for {order}", "Could you send the invoice for {order} to {email}? It should be made out to {name}."),
    ),
    "de": (
        (
            "Wo bleibt {order}?",
            "Guten Tag, meine Bestellung {order} ist noch nicht da. Sie erreichen mich unter {phone}. Gruß, {name}",
        ),
        (
            "Rücksendung {order}",
            "Ich habe {order} zurückgeschickt. Bitte überweisen Sie den Betrag auf {iban}. Freundliche Grüße, {name}",
        ),
        ("Neue Anschrift", "Ich bin umgezogen und wohne jetzt hier: {address}. Mein Konto läuft auf {email}. {name}"),
        ("Rechnung fehlt", "Zu {order} habe ich keine Rechnung bekommen. Bitte an {email} senden, auf {name}."),
        ("Falscher Artikel", "In {order} lag der falsche Artikel. Rufen Sie mich bitte an: {phone}. {name}"),
    ),
    "fr": (
        (
            "Colis {order} non reçu",
            "Bonjour, je n'ai toujours pas reçu {order}. Vous pouvez m'appeler au {phone}. Cordialement, {name}",
        ),
        ("Remboursement", "J'ai renvoyé {order}. Merci de rembourser sur mon compte {iban}. {name}, {email}"),
        ("Changement d'adresse", "Ma nouvelle adresse : {address}. Mon compte est au nom de {name} ({email})."),
        ("Facture de {order}", "Pourriez-vous envoyer la facture de {order} à {email} ? Merci, {name}"),
    ),
    "es": (
        ("¿Dónde está {order}?", "Hola, soy {name}. Mi pedido {order} no ha llegado. Escríbanme a {email}, por favor."),
        ("Devolución de {order}", "He devuelto {order}. Ruego el reembolso en la cuenta {iban}. Un saludo, {name}"),
        ("Cambio de dirección", "Mi nueva dirección es {address}. Mi correo sigue siendo {email}. {name}"),
    ),
    "nl": (
        ("Waar blijft {order}?", "Hallo, met {name}. Ik wacht nog op {order}. Mailen kan naar {email}."),
        ("Retour {order}", "Ik heb {order} teruggestuurd. Graag het bedrag terug op {iban}. Groeten, {name}"),
        ("Nieuw adres", "Ik ben verhuisd naar {address}. Mijn account is {email}. {name}"),
    ),
    "it": (
        ("Dov'è {order}?", "Buongiorno, sono {name}: il pacco {order} non è arrivato. Potete scrivermi a {email}."),
        ("Reso di {order}", "Ho rispedito {order}. Vi prego di rimborsare sul conto {iban}. Cordiali saluti, {name}"),
        ("Nuovo indirizzo", "Il mio nuovo indirizzo è {address}. La mail resta {email}. {name}"),
    ),
    "sv": (
        ("Var är {order}?", "Hej, mitt paket {order} har inte kommit. Ni når mig på {phone}. Hälsningar, {name}"),
        ("Retur {order}", "Jag har skickat tillbaka {order}. Betala gärna tillbaka till {iban}. {name}, {email}"),
        ("Ny adress", "Jag har flyttat till {address}. Mitt konto är {email}. {name}"),
    ),
}


def write(language: str, writer: Person, order: str, dice: Random) -> tuple[str, str]:
    """A subject and a body, in that language, by that person about that order."""
    facts = {
        "name": writer.name,
        "email": writer.email,
        "phone": writer.phone,
        "iban": writer.iban,
        "address": writer.address,
        "order": order,
    }
    missing = [f"{{{key}}}" for key, value in facts.items() if value is None]
    fitting = [text for text in _TEXTS[language] if not any(key in text[1] for key in missing)]
    subject, body = dice.choice(fitting)
    return subject.format(**facts), body.format(**facts)
