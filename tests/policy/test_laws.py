"""The laws of the language, over generated policies; and a wrong decision point that each law catches."""

from dataclasses import replace
from datetime import UTC, datetime
from functools import partial

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from hoop_mcp.policy.decide import decide, judge
from hoop_mcp.policy.facts import Facts, Shown, Use
from hoop_mcp.policy.matching import hear
from hoop_mcp.policy.rules import MaskChoice, Mode, Policy, PolicySet, Require, Rule, When
from hoop_mcp.terms import Budget, ColumnMask, ColumnRef, Effect, Groups, Limits, Operator, Verb

CATEGORIES = ["contact", "identity", "unclassified"]
TABLES = ["a.x", "a.y", "b.z"]


def quick(decide_):
    """Enough examples to look hard; a planted mistake need only be found, not made small."""
    right = decide_ is decide
    return settings(
        max_examples=80 if right else 500,
        phases=[Phase.generate, Phase.shrink] if right else [Phase.generate],
        deadline=None,
        suppress_health_check=list(HealthCheck),
        derandomize=True,
        database=None,
        report_multiple_bugs=False,
    )


some = partial(st.frozensets, min_size=1)
categories = some(st.sampled_from(CATEGORIES))
CONDITIONS = {
    "kind": some(st.sampled_from(list(Verb))),
    "only_schemas": some(st.sampled_from(["a", "b"])),
    "any_tables": some(st.sampled_from(TABLES)),
    "shows_any": categories,
    "shows_only": categories,
    "touches_any": categories,
}


@st.composite
def whens(draw, *, names_tables):
    """Few conditions a rule, so that several rules match the same statement."""
    names = draw(st.lists(st.sampled_from(sorted(CONDITIONS)), max_size=2, unique=True))
    given_ = {name: draw(CONDITIONS[name]) for name in names}
    if names_tables:
        given_["only_tables"] = draw(st.just(frozenset(TABLES)) | some(st.sampled_from(TABLES)))
    else:
        given_.pop("only_schemas", None)
    voice = draw(st.sampled_from(["none", "any", "only", "all"]))
    if voice == "any":
        given_["probes_any"] = draw(categories)
    elif voice == "only":
        given_["probes_only"] = draw(categories)
    elif voice == "all":
        given_["probes_only"] = frozenset(CATEGORIES)
    if draw(st.booleans()):
        given_["lookups"] = draw(st.just(frozenset(CATEGORIES)) | categories)
    return When(**given_)


masks = st.lists(
    st.builds(
        MaskChoice,
        category=st.sampled_from(CATEGORIES),
        operator=st.sampled_from(list(Operator)),
        options=st.sampled_from([(), (("last", 2),)]),
    ),
    max_size=3,
    unique_by=lambda choice: choice.category,
).map(tuple)
limits = st.builds(
    Limits,
    max_rows=st.none() | st.integers(1, 3),
    timeout_ms=st.none() | st.integers(1, 3),
    min_group=st.none() | st.integers(2, 4),
)


@st.composite
def rules(draw, then=None, names_tables=None):
    effect = draw(st.sampled_from(list(Effect))) if then is None else then
    if effect is Effect.ALLOW:
        names_tables = True
    when = draw(whens(names_tables=draw(st.booleans()) if names_tables is None else names_tables))
    deny = effect is Effect.DENY
    ident = f"r{draw(st.integers(0, 10**9))}"
    budget = None if deny or draw(st.booleans()) else Budget(ident, 3_600, rows=draw(st.integers(1, 3)))
    return Rule(
        id=ident,
        budget=budget,
        when=when,
        then=effect,
        because="x",
        masks=() if deny else draw(masks),
        limits=Limits() if deny else draw(limits),
        reviewers=frozenset({"lead"}) if effect is Effect.HOLD else frozenset(),
        require=Require(reason=False if deny else draw(st.sampled_from([False, False, True]))),
    )


SCOPE = {"databases": frozenset({"d"}), "roles": frozenset({"r"}), "purposes": frozenset({"p"})}


def one_policy(rules_, name="p", mode=Mode.ENFORCE):
    return Policy(name=name, owner="o", rules=tuple(rules_), mode=mode, **SCOPE)


OPEN = Rule(
    "open-everything",
    When(only_tables=frozenset(TABLES), probes_only=frozenset(CATEGORIES), lookups=frozenset(CATEGORIES)),
    Effect.ALLOW,
    "x",
    masks=(MaskChoice("contact", Operator.PARTIAL),),
)
LIMITED = replace(
    OPEN,
    id="open-with-limits",
    limits=Limits(max_rows=2, timeout_ms=2, min_group=3),
    budget=Budget("open-with-limits", 3_600, rows=2),
)
LIMITED_LESS = replace(
    LIMITED, id="open-with-less", limits=Limits(min_group=2), budget=Budget("open-with-less", 3_600, rows=3)
)
KEEP_ALL = replace(OPEN, id="keep-all", masks=tuple(MaskChoice(each, Operator.KEEP) for each in CATEGORIES))
rule_lists = st.tuples(
    st.lists(rules(), max_size=4, unique_by=lambda rule: rule.id), st.sampled_from([[], [OPEN]])
).map(lambda parts: [*parts[0], *parts[1]])
uses = st.lists(
    st.builds(
        Use,
        column=st.sampled_from([ColumnRef("a", "x", name) for name in "cdef"]),
        category=st.sampled_from(CATEGORIES),
        entity=st.sampled_from([None, "EMAIL_ADDRESS"]),
    ),
    max_size=2,
).map(tuple)
all_facts = st.builds(
    Facts,
    database=st.just("d"),
    role=st.just("r"),
    purpose=st.just("p"),
    actor=st.just("agent"),
    client=st.just("c"),
    verb=st.sampled_from(list(Verb)),
    relations=st.frozensets(st.sampled_from(TABLES), max_size=2) | st.just(frozenset({"a.x"})),
    behind=st.just(frozenset()) | st.frozensets(st.sampled_from(TABLES), max_size=1),
    metadata=st.just(frozenset()),
    restricted=st.just(frozenset()),
    columns=st.lists(st.builds(Shown, name=st.just("o"), uses=uses), max_size=3).map(tuple),
    probes=uses | st.just(()),
    lookups=st.just(()) | uses,
    now=st.just(datetime(2026, 3, 2, tzinfo=UTC)),
    reason=st.none() | st.just("because"),
    locks=st.booleans(),
    groups=st.sampled_from([None, None, Groups(counted=(0,)), Groups(uncounted="nobody counts")]),
)


def looser_masks(before, after):
    """Columns whose mask got lighter, apart from the default redact, which is no rule's decision."""
    pairs = zip(before.masks, after.masks, strict=False)
    return [
        (was, now)
        for was, now in pairs
        if was is not None and was.rule is not None and now is not None and now.operator < was.operator
    ]


def looser_limits(before, after):
    return [
        name
        for name in ("max_rows", "timeout_ms")
        if getattr(before.limits, name) is not None
        and (getattr(after.limits, name) is None or getattr(after.limits, name) > getattr(before.limits, name))
    ] + (["min_group"] if (after.limits.min_group or 0) < (before.limits.min_group or 0) else [])


# The laws: each takes a decision point, so that a wrong one can be shown to break it.


def law_order_never_matters(decide_):
    @quick(decide_)
    @given(rule_lists, all_facts, st.randoms(use_true_random=False))
    def law(rules_, facts, random):
        shuffled = list(rules_)
        random.shuffle(shuffled)
        half = len(shuffled) // 2
        one = PolicySet.of([one_policy(rules_)])
        other = PolicySet.of([one_policy(shuffled)])
        split = PolicySet.of([one_policy(shuffled[half:], "z"), one_policy(shuffled[:half], "a")])
        assert one.digest == other.digest
        assert decide_(one, facts) == decide_(other, facts)
        assert replace(decide_(one, facts), because=()) == replace(decide_(split, facts), because=())

    return law


def law_a_deny_never_loosens(decide_):
    @quick(decide_)
    @given(rule_lists, rules(Effect.DENY), all_facts)
    def law(rules_, deny, facts):
        before = decide_(PolicySet.of([one_policy(rules_)]), facts)
        after = decide_(PolicySet.of([one_policy([*rules_, deny])]), facts)
        assert after.effect >= before.effect
        if after.effect is not Effect.DENY:
            assert (after.masks, after.limits) == (before.masks, before.limits)

    return law


def law_a_hold_that_names_nothing_never_loosens(decide_):
    @quick(decide_)
    @given(rule_lists, rules(Effect.HOLD, names_tables=False), all_facts)
    def law(rules_, hold, facts):
        before = decide_(PolicySet.of([one_policy(rules_)]), facts)
        after = decide_(PolicySet.of([one_policy([*rules_, hold])]), facts)
        assert after.effect >= before.effect
        if after.effect is Effect.DENY:
            return
        assert not looser_limits(before, after)
        for was, now in zip(before.masks, after.masks, strict=False):
            assert (was is None) == (now is None)
            assert was is None or now.operator >= was.operator  # here the default redact counts too

    return law


def law_a_hold_never_allows(decide_):
    @quick(decide_)
    @given(rule_lists, rules(Effect.HOLD, names_tables=True), all_facts)
    def law(rules_, hold, facts):
        before = decide_(PolicySet.of([one_policy(rules_)]), facts)
        after = decide_(PolicySet.of([one_policy([*rules_, hold])]), facts)
        # It may open a way that no rule had opened, for a person to say yes; it never gets past a rule's no.
        assert after.effect >= before.effect or (after.effect is Effect.HOLD and before.code in {"HOOP301", "HOOP312"})

    return law


def law_no_rule_loosens_what_a_rule_decided(decide_):
    @quick(decide_)
    @given(
        rule_lists | rule_lists.map(lambda several: [*several, LIMITED]),
        rules() | st.sampled_from([replace(OPEN, id="added"), KEEP_ALL, LIMITED_LESS]),
        all_facts,
    )
    def law(rules_, added, facts):
        before = decide_(PolicySet.of([one_policy(rules_)]), facts)
        after = decide_(PolicySet.of([one_policy([*rules_, added])]), facts)
        if before.rules:
            assert after.effect >= before.effect
        if before.effect is not Effect.DENY and after.effect is not Effect.DENY:
            assert not looser_masks(before, after)
            assert not looser_limits(before, after)
            assert set(before.budgets) <= set(after.budgets)

    return law


def law_a_minimum_is_never_passed_over(decide_):
    @quick(decide_)
    @given(rule_lists, all_facts)
    def law(rules_, facts):
        decision = decide_(PolicySet.of([one_policy(rules_)]), facts)
        if decision.effect is Effect.DENY or facts.groups is None or facts.groups.counted:
            return
        heard = matching(PolicySet.of([one_policy(rules_)]), facts)
        assert not any(hearing.rule.limits.min_group for hearing in heard)

    return law


def law_every_shown_category_has_an_operator(decide_):
    @quick(decide_)
    @given(rule_lists, all_facts)
    def law(rules_, facts):
        decision = decide_(PolicySet.of([one_policy(rules_)]), facts)
        if decision.effect is Effect.DENY:
            return
        assert len(decision.masks) == len(facts.columns)
        for column, mask in zip(facts.columns, decision.masks, strict=True):
            assert (mask is None) == (not column.uses)
            seen = mask is not None and mask.operator < Operator.REDACT
            named = {choice.category for rule in rules_ for choice in rule.masks}
            assert not seen or {use.category for use in column.uses} <= named

    return law


def law_observing_changes_no_answer(decide_):
    @quick(decide_)
    @given(rule_lists, rule_lists, all_facts)
    def law(rules_, watched, facts):
        alone = decide_(PolicySet.of([one_policy(rules_)]), facts)
        beside = decide_(PolicySet.of([one_policy(rules_), one_policy(watched, "w", Mode.OBSERVE)]), facts)
        # The words of a refusal may know one policy more; effect, code, masks and limits may not.
        assert replace(beside, shadow=None) == alone

    return law


def law_every_probe_has_a_voice(decide_):
    @quick(decide_)
    @given(rule_lists, all_facts)
    def law(rules_, facts):
        decision = decide_(PolicySet.of([one_policy(rules_)]), facts)
        if decision.effect is not Effect.DENY:
            opening = [rule for rule in rules_ if rule.then is not Effect.DENY and rule.when.names_tables]
            assert facts.probed <= frozenset().union(*(rule.when.voices for rule in opening))

    return law


LAWS = {
    "order": law_order_never_matters,
    "deny": law_a_deny_never_loosens,
    "tightening hold": law_a_hold_that_names_nothing_never_loosens,
    "opening hold": law_a_hold_never_allows,
    "any rule": law_no_rule_loosens_what_a_rule_decided,
    "operators": law_every_shown_category_has_an_operator,
    "observe": law_observing_changes_no_answer,
    "voice": law_every_probe_has_a_voice,
    "minimum": law_a_minimum_is_never_passed_over,
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_the_law_holds(law):
    law(decide)()


# Wrong decision points, each with a mistake somebody could make.


def matching(policies, facts):
    return [hearing for hearing in hear(policies, facts) if hearing.matched]


def first_match_wins(policies, facts):
    """As a list of firewall rules: the first has the only say."""
    return judge(matching(policies, facts)[:1], facts)


def not_denied_is_allowed(policies, facts):
    """As a list of exceptions: where there are deny rules and none matches, go ahead."""
    heard = hear(policies, facts)
    denies = [hearing for hearing in heard if hearing.rule.then is Effect.DENY]
    real = judge(heard, facts)
    return replace(real, effect=Effect.ALLOW) if denies and not any(each.matched for each in denies) else real


def order_of_writing(policies, facts):
    """Decides by where a rule stands among those of its policy: the digest of all is taken in as a seed."""
    decision = decide(policies, facts)
    return replace(
        decision, rules=decision.rules[::-1] if len(policies.policies) > 1 else decision.rules, limits=Limits()
    )


def allow_wins(policies, facts):
    heard = matching(policies, facts)
    allows = [hearing for hearing in heard if hearing.rule.then is Effect.ALLOW]
    return judge(allows or heard, facts)


def any_hold_opens(policies, facts):
    heard = [replace(hearing, opens=True) for hearing in matching(policies, facts)]
    return judge(heard, facts)


def lightest_mask(policies, facts):
    decision = decide(policies, facts)
    named = [choice for hearing in matching(policies, facts) for choice in hearing.rule.masks]
    lightest = min((choice.operator for choice in named), default=Operator.REDACT)
    masks_ = tuple(mask and replace(mask, operator=lightest) for mask in decision.masks)
    return replace(decision, masks=masks_)


def hold_is_yes(policies, facts):
    decision = decide(policies, facts)
    return replace(decision, effect=Effect.ALLOW) if decision.effect is Effect.HOLD else decision


def unnamed_is_kept(policies, facts):
    decision = decide(policies, facts)
    return replace(
        decision,
        masks=tuple(
            ColumnMask(Operator.KEEP, mask.category) if mask is not None and mask.rule is None else mask
            for mask in decision.masks
        ),
    )


def observing_is_enforcing(policies, facts):
    enforced = PolicySet.of(replace(policy, mode=Mode.ENFORCE) for policy in policies.policies)
    return decide(enforced, facts)


def probes_are_free(policies, facts):
    return decide(policies, replace(facts, probes=(), lookups=()))


def smallest_minimum(policies, facts):
    """The smallest of every limit, which of a minimum is the loosest."""
    decision = decide(policies, facts)
    given_ = [hearing.rule.limits.min_group for hearing in matching(policies, facts)]
    least = min((each for each in given_ if each is not None), default=None)
    return replace(decision, limits=replace(decision.limits, min_group=least))


def one_budget(policies, facts):
    decision = decide(policies, facts)
    return replace(decision, budgets=decision.budgets[:1])


def uncounted_is_allowed(policies, facts):
    return decide(policies, replace(facts, groups=None))


PLANTED = [
    ("any rule", smallest_minimum),
    ("any rule", one_budget),
    ("minimum", uncounted_is_allowed),
    ("order", order_of_writing),
    ("deny", not_denied_is_allowed),
    ("tightening hold", any_hold_opens),
    ("opening hold", hold_is_yes),
    ("any rule", lightest_mask),
    ("any rule", allow_wins),
    ("any rule", first_match_wins),
    ("operators", unnamed_is_kept),
    ("observe", observing_is_enforcing),
    ("voice", probes_are_free),
]


@pytest.mark.parametrize(("law", "wrong"), PLANTED, ids=[f"{law}: {wrong.__name__}" for law, wrong in PLANTED])
def test_the_law_catches_a_wrong_decision_point(law, wrong):
    with pytest.raises(AssertionError):
        LAWS[law](wrong)()
