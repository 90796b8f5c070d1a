-- What the golden statements of this folder are about. Loaded as superuser; the catalogue beside it says what is personal.
CREATE SCHEMA lab;
CREATE TYPE lab.address AS (street text, town text);
CREATE TYPE lab.mood AS ENUM ('low', 'high');
CREATE TYPE lab.mind AS ENUM ('low', 'high', 'blank');
CREATE FUNCTION lab.to_mind(lab.mood) RETURNS lab.mind LANGUAGE sql IMMUTABLE AS $$ SELECT 'blank'::lab.mind $$;
CREATE CAST (lab.mood AS lab.mind) WITH FUNCTION lab.to_mind(lab.mood) AS IMPLICIT;
CREATE DOMAIN lab.code AS text CHECK (length(VALUE) < 20);
CREATE FUNCTION lab.allows(text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN RETURN true; END $$;
CREATE DOMAIN lab.judged AS text CHECK (lab.allows(VALUE));

CREATE TABLE lab.teams (id int PRIMARY KEY, title text);
CREATE TABLE lab.people (
  id int PRIMARY KEY, name text, email varchar(100), phone text, salary int, paid numeric, vip boolean, born date,
  profile jsonb, raw json, tags text[], home lab.address, ident lab.code, seen timestamptz, badge int,
  segment text, team int, boss int, joined date, scores int[], feels lab.mood, thinks lab.mind);
CREATE TABLE lab.orders (id int PRIMARY KEY, person_id int, total numeric, status text, note text, placed timestamp);
CREATE TABLE lab.events (id int, day date, who text, kind text) PARTITION BY RANGE (day);
CREATE TABLE lab.events_old PARTITION OF lab.events FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE lab.events_new PARTITION OF lab.events FOR VALUES FROM ('2020-01-01') TO (MAXVALUE);
CREATE TABLE lab.cohort (id int, year int) PARTITION BY RANGE (year);
CREATE TABLE lab.cohort_old PARTITION OF lab.cohort FOR VALUES FROM (0) TO (1990);
CREATE TABLE lab.animals (id int, label text);
CREATE TABLE lab.pets (chip text) INHERITS (lab.animals);
CREATE TABLE lab.secrets (id int, word text);
CREATE TABLE lab.unlisted (id int, odd text);
CREATE TABLE lab.gen (id int, name text, shout text GENERATED ALWAYS AS (upper(name)) STORED, doubled int GENERATED ALWAYS AS (id * 2) STORED);
CREATE TABLE lab.judging (id int, verdict lab.judged);
CREATE TABLE lab.diary (id int, owner text, page text);
ALTER TABLE lab.diary ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON lab.diary USING (owner = current_user);
CREATE TABLE lab."a b" (id int);

CREATE FUNCTION lab.team_of(int) RETURNS int LANGUAGE sql STABLE AS $$ SELECT team FROM lab.people WHERE id = $1 $$;
CREATE FUNCTION lab.peek(int) RETURNS text LANGUAGE plpgsql STABLE SECURITY DEFINER
  AS $$ BEGIN RETURN (SELECT email FROM lab.people WHERE id = $1); END $$;
CREATE FUNCTION lab.lower(text) RETURNS text LANGUAGE sql STABLE AS $$ SELECT email FROM lab.people LIMIT 1 $$;
CREATE OPERATOR lab.=== (LEFTARG = text, RIGHTARG = text, FUNCTION = texteq);
CREATE AGGREGATE lab.last(int) (SFUNC = int4larger, STYPE = int);

CREATE VIEW lab.v_people AS SELECT id, upper(name) AS loud, segment FROM lab.people;
CREATE VIEW lab.v_vip AS SELECT id, segment FROM lab.people WHERE vip;
CREATE VIEW lab.v_nested AS SELECT v.id, v.loud, o.total FROM lab.v_people v JOIN lab.orders o ON o.person_id = v.id;
CREATE VIEW lab.v_either AS SELECT id, name AS word FROM lab.people UNION ALL SELECT id, title FROM lab.teams;
CREATE VIEW lab.v_function AS SELECT id, lab.team_of(id) AS t FROM lab.people;
CREATE VIEW lab.v_secret AS SELECT id FROM lab.secrets;
CREATE MATERIALIZED VIEW lab.m_people AS SELECT id, lower(email) AS mail, segment FROM lab.people;
CREATE MATERIALIZED VIEW lab.m_vip AS SELECT id FROM lab.people WHERE vip;
CREATE MATERIALIZED VIEW lab.m_over_v AS SELECT id FROM lab.v_vip;
CREATE MATERIALIZED VIEW lab.m_counts AS SELECT segment, count(*) AS n FROM lab.people GROUP BY segment;
