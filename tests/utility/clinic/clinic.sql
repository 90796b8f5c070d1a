-- Appointments of a practice with several sites: health data, and the figures its office needs.
CREATE SCHEMA clinic;
CREATE TABLE clinic.sites (id int PRIMARY KEY, name text NOT NULL, town text NOT NULL, opens time NOT NULL, closes time NOT NULL);
CREATE TABLE clinic.doctors (id int PRIMARY KEY, site_id int NOT NULL REFERENCES clinic.sites, surname text NOT NULL, speciality text NOT NULL);
CREATE TABLE clinic.patients (
  id int PRIMARY KEY, full_name text NOT NULL, born date NOT NULL, sex text, insurance_no text UNIQUE, mobile text,
  insurer text NOT NULL, since date NOT NULL, flags text[] NOT NULL DEFAULT '{}', contact jsonb NOT NULL DEFAULT '{}');
CREATE TABLE clinic.appointments (
  id bigint PRIMARY KEY, patient_id int NOT NULL REFERENCES clinic.patients, doctor_id int NOT NULL REFERENCES clinic.doctors,
  at timestamptz NOT NULL, minutes int NOT NULL, state text NOT NULL, booked_by text NOT NULL, tags text[] NOT NULL DEFAULT '{}');
CREATE TABLE clinic.findings (
  appointment_id bigint PRIMARY KEY REFERENCES clinic.appointments, icd10 text NOT NULL, note text);
CREATE TABLE clinic.invoices (
  number text PRIMARY KEY, appointment_id bigint NOT NULL REFERENCES clinic.appointments, amount numeric(10, 2) NOT NULL,
  issued date NOT NULL, paid date, details jsonb NOT NULL DEFAULT '{}');
CREATE VIEW clinic.agenda AS
  SELECT a.id, a.at, a.minutes, a.state, d.surname AS doctor, s.name AS site
  FROM clinic.appointments a JOIN clinic.doctors d ON d.id = a.doctor_id JOIN clinic.sites s ON s.id = d.site_id;
INSERT INTO clinic.sites SELECT n, 'Site ' || n, 'Town ' || n, '08:00', '17:00' FROM generate_series(1, 4) n;
INSERT INTO clinic.doctors SELECT n, 1 + n % 4, 'Doctor' || n, (ARRAY['general', 'skin', 'heart'])[1 + n % 3] FROM generate_series(1, 12) n;
INSERT INTO clinic.patients SELECT n, 'Patient Number ' || n, date '1950-01-01' + n * 37, (ARRAY['f', 'm', 'x'])[1 + n % 3],
  'A' || lpad(n::text, 9, '0'), '+49 151 ' || (1000000 + n), (ARRAY['AOK', 'TK', 'private'])[1 + n % 3], date '2015-01-01' + n,
  '{}', jsonb_build_object('email', 'p' || n || '@example.org') FROM generate_series(1, 400) n;
INSERT INTO clinic.appointments SELECT n, 1 + n % 400, 1 + n % 12, timestamptz '2025-01-01 08:00+00' + n * interval '97 minutes', 15 + n % 4 * 15,
  (ARRAY['done', 'done', 'done', 'missed', 'cancelled'])[1 + n % 5], (ARRAY['desk', 'web', 'phone'])[1 + n % 3], '{}' FROM generate_series(1, 3000) n;
INSERT INTO clinic.findings SELECT id, (ARRAY['J06.9', 'I10', 'L20.9', 'M54.5'])[1 + id % 4], 'seen' FROM clinic.appointments WHERE state = 'done';
INSERT INTO clinic.invoices SELECT 'R-' || id, id, 20 + id % 200, at::date + 3, CASE WHEN id % 7 > 0 THEN at::date + 20 END,
  jsonb_build_object('lines', 1 + id % 3, 'channel', booked_by) FROM clinic.appointments WHERE state = 'done';
