-- Statements whose analysed trees, together, hold every node type and field this product knows.
-- One statement a line; "-- NN+" marks the first PostgreSQL major that accepts the next line.
SELECT 1
SELECT $1::int + $2::int, $3::text
SELECT NULL, true, 'x'::text, 1.5::numeric, -1, B'101', '{1,2}'::int[], '{"a":1}'::jsonb, now(), current_date, current_timestamp(2), localtime, localtimestamp, current_user, session_user, current_role, current_catalog, current_schema
SELECT id, name FROM shape.person
SELECT * FROM shape.person p, shape.dept d WHERE p.dept = d.id
SELECT p FROM shape.person p
SELECT (p).name, p.*, ROW(p.*), ROW(1, 'a') FROM shape.person p
SELECT (p.home).city FROM shape.person p
SELECT p.id FROM shape.person p JOIN shape.dept d ON d.id = p.dept LEFT JOIN shape.person q USING (email) RIGHT JOIN shape.dept e ON true FULL JOIN shape.dept f ON f.id = e.id
SELECT * FROM shape.person NATURAL JOIN shape.dept
SELECT j.a FROM (shape.person p JOIN shape.dept d ON d.id = p.dept) AS j(a, b, c)
SELECT u.id, u FROM shape.person p JOIN shape.dept d USING (id) AS u
SELECT x.* FROM (SELECT id, name FROM shape.person) x
SELECT x.n FROM shape.person p, LATERAL (SELECT p.name AS n) x
SELECT x.n FROM shape.person p CROSS JOIN LATERAL (SELECT p.name AS n LIMIT 1) x
WITH a AS (SELECT id FROM shape.person), b AS MATERIALIZED (SELECT * FROM a), c AS NOT MATERIALIZED (SELECT * FROM b) SELECT * FROM c, a
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SELECT n FROM t
WITH RECURSIVE t(n) AS (SELECT 1 UNION SELECT n + 1 FROM t WHERE n < 3) SELECT n FROM t
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SEARCH DEPTH FIRST BY n SET o SELECT * FROM t
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) SEARCH BREADTH FIRST BY n SET o SELECT * FROM t
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) CYCLE n SET c USING p SELECT * FROM t
WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t WHERE n < 3) CYCLE n SET c TO 'y' DEFAULT 'n' USING p SELECT * FROM t
VALUES (1, 'a'), (2, 'b')
SELECT v.x FROM (VALUES (1, 'a'), (2, 'b')) v(x, y)
SELECT id FROM shape.person UNION SELECT id FROM shape.dept ORDER BY 1 LIMIT 2 OFFSET 1
(SELECT id FROM shape.person EXCEPT ALL SELECT id FROM shape.dept) INTERSECT SELECT 1
SELECT 'a' UNION ALL SELECT name FROM shape.person
SELECT DISTINCT dept FROM shape.person
SELECT DISTINCT ON (dept) id FROM shape.person ORDER BY dept, id DESC NULLS LAST
SELECT dept, count(*), count(name), count(DISTINCT name), sum(id) FILTER (WHERE id > 1), string_agg(name, ',' ORDER BY id DESC), array_agg(name) FROM shape.person GROUP BY dept HAVING count(*) > 1
SELECT dept, name, grouping(dept, name) FROM shape.person GROUP BY GROUPING SETS ((dept, name), (dept), ())
SELECT dept, id, count(*) FROM shape.person GROUP BY ROLLUP (dept, id), CUBE (name)
SELECT dept + 1, count(*) FROM shape.person GROUP BY dept + 1
SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY id), mode() WITHIN GROUP (ORDER BY name), rank(3) WITHIN GROUP (ORDER BY id) FROM shape.person
SELECT row_number() OVER (), rank() OVER w, lag(name, 1) OVER (PARTITION BY dept ORDER BY id), sum(id) OVER (ORDER BY id ROWS BETWEEN 1 PRECEDING AND CURRENT ROW), count(*) FILTER (WHERE id > 1) OVER w FROM shape.person WINDOW w AS (PARTITION BY dept ORDER BY id)
SELECT sum(id) OVER (ORDER BY id RANGE BETWEEN 1 PRECEDING AND 1 FOLLOWING EXCLUDE TIES), first_value(id) OVER (ORDER BY id GROUPS 1 PRECEDING) FROM shape.person
SELECT CASE WHEN id > 1 THEN 'a' ELSE 'b' END, CASE dept WHEN 1 THEN 'x' END, coalesce(name, 'n'), nullif(name, 'x'), greatest(id, 1), least(id, 2) FROM shape.person
SELECT id = 1 AND NOT (dept = 2 OR dept IS NULL), name IS NOT NULL, (id > 1) IS TRUE, (id > 1) IS NOT UNKNOWN, id IS DISTINCT FROM 2 FROM shape.person
SELECT id FROM shape.person WHERE id IN (1, 2, 3) AND dept = ANY ('{1,2}') AND id <> ALL (ARRAY[4, 5]) AND name LIKE 'a%' AND name ILIKE 'b%' AND name ~ 'c' AND name SIMILAR TO 'd' AND id BETWEEN 1 AND 9 AND id BETWEEN SYMMETRIC 9 AND 1
SELECT id FROM shape.person WHERE (id, dept) = (1, 2) AND (id, dept) < (3, 4) AND (id, dept) IN (SELECT id, id FROM shape.dept)
SELECT id FROM shape.person p WHERE EXISTS (SELECT 1 FROM shape.dept d WHERE d.id = p.dept) AND id IN (SELECT id FROM shape.dept) AND id > ALL (SELECT id FROM shape.dept) AND (SELECT true)
SELECT (SELECT name FROM shape.person LIMIT 1), ARRAY(SELECT id FROM shape.dept), ARRAY[id, 2], ARRAY[[1, 2], [3, 4]] FROM shape.dept
SELECT (tags)[1], tags[1:2], tags[:1], extra['a'], (ARRAY[1, 2])[1], extra -> 'a' ->> 'b', extra #>> '{a}' FROM shape.person
SELECT id::text, name::varchar(3), name::shape.short, id::numeric(5, 1), tags::text, tags::varchar[], home::text, name COLLATE "C", name::name, created AT TIME ZONE 'UTC', extract(year FROM created), created + interval '1 day' FROM shape.person
SELECT g FROM generate_series(1, 3) g
SELECT a, b, o FROM ROWS FROM (generate_series(1, 2), unnest(ARRAY['a', 'b'])) WITH ORDINALITY AS f(a, b, o)
SELECT * FROM unnest(ARRAY[1, 2], ARRAY['a', 'b']) AS u(x, y)
SELECT * FROM jsonb_to_recordset('[{"a":1}]') AS r(a int, b text)
SELECT generate_series(1, 2), unnest(tags) FROM shape.person
SELECT * FROM shape.person TABLESAMPLE BERNOULLI (10) REPEATABLE (1)
SELECT * FROM shape.person TABLESAMPLE SYSTEM (50)
SELECT * FROM ONLY shape.person
SELECT tableoid, ctid FROM shape.person
SELECT id FROM shape.person FOR UPDATE
SELECT p.id FROM shape.person p, shape.dept d FOR SHARE OF p SKIP LOCKED
SELECT id FROM shape.person ORDER BY id FETCH FIRST 3 ROWS WITH TIES
SELECT id FROM shape.person ORDER BY name USING <
SELECT concat_ws('-', VARIADIC ARRAY['a', 'b']), make_interval(days => 3), format('%s', name) FROM shape.person
SELECT id FROM shape.person_view
SELECT * FROM shape.shared
SELECT * FROM shape.person_mv
SELECT * FROM shape.part WHERE id = 1
SELECT extract(epoch FROM now()), position('a' IN name), substring(name FROM 1 FOR 2), substring(name FROM 'a'), substring(name SIMILAR 'a' ESCAPE '#'), overlay(name PLACING 'x' FROM 1), trim(BOTH ' ' FROM name), name IS NORMALIZED, normalize(name) FROM shape.person
SELECT xmlelement(name a, xmlattributes(name AS b), 'c'), xmlforest(name AS n), xmlconcat('<a/>', '<b/>'), xmlpi(name p), xmlroot('<a/>', version '1.0'), xmlparse(content name), xmlserialize(content '<a/>'::xml AS text), '<a/>'::xml IS DOCUMENT FROM shape.person
SELECT x.a FROM xmltable('/r' PASSING ('<r/>'::xml) COLUMNS a int PATH 'a' DEFAULT 1 NOT NULL, o FOR ORDINALITY) x
SELECT x.a FROM xmltable(XMLNAMESPACES ('u' AS n), '/r' PASSING ('<r/>'::xml) COLUMNS a text) x
SELECT p.id FROM shape.person p WHERE p.id = shape.twice(2) AND p.id OPERATOR(pg_catalog.=) 1
SELECT shape.twice(x => 2), shape.vsum(1, 2, 3)
SELECT shape.lot(id) FROM shape.person
SELECT count(*) FROM (SELECT 1 FROM shape.person WHERE false) z
SELECT row_to_json(p), to_jsonb(p), json_agg(p) OVER () FROM shape.person p
SELECT array_agg(p.home), min(p.name) FROM shape.person p GROUP BY ()
SELECT FROM shape.person
INSERT INTO shape.dept VALUES (1, 'a')
INSERT INTO shape.dept (id) VALUES (1), (2) RETURNING id, name
INSERT INTO shape.dept SELECT id, name FROM shape.person
INSERT INTO shape.dept DEFAULT VALUES
INSERT INTO shape.dept (id, name) VALUES (1, DEFAULT) ON CONFLICT (id) DO UPDATE SET name = excluded.name WHERE shape.dept.id > 0
INSERT INTO shape.dept VALUES (1, 'a') ON CONFLICT DO NOTHING
INSERT INTO shape.dept VALUES (1, 'a') ON CONFLICT ON CONSTRAINT dept_pkey DO NOTHING
INSERT INTO shape.ident (id, v) OVERRIDING SYSTEM VALUE VALUES (1, 2)
INSERT INTO shape.ident (v) VALUES (2)
UPDATE shape.person SET name = 'x', home.city = 'y', tags[1] = 'z' WHERE id = 1
UPDATE shape.person SET (name, dept) = (SELECT 'a', 1) WHERE id = 1
UPDATE shape.person p SET dept = d.id FROM shape.dept d WHERE d.id = p.dept RETURNING p.*, d.name
DELETE FROM shape.person WHERE id = 1
DELETE FROM shape.person p USING shape.dept d WHERE d.id = p.dept RETURNING p.id
WITH w AS (UPDATE shape.dept SET name = 'x' WHERE id = 1 RETURNING id) SELECT id FROM w
UPDATE shape.person_view SET name = 'x' WHERE id = 1
-- 15+
MERGE INTO shape.dept d USING (VALUES (1, 'a')) v(id, name) ON v.id = d.id WHEN MATCHED AND d.id > 1 THEN UPDATE SET name = v.name WHEN MATCHED THEN DELETE WHEN NOT MATCHED THEN INSERT (id, name) VALUES (v.id, v.name)
-- 15+
MERGE INTO shape.dept d USING shape.person p ON p.dept = d.id WHEN MATCHED THEN DO NOTHING
-- 17+
MERGE INTO shape.dept d USING shape.person p ON p.dept = d.id WHEN NOT MATCHED BY SOURCE THEN DELETE RETURNING merge_action(), d.id
-- 16+
SELECT json_array(1, 2), json_object('a': 1), json_arrayagg(id), json_objectagg(name: id), '{}' IS JSON OBJECT FROM shape.person
-- 17+
SELECT json_value('{"a":1}', '$.a' RETURNING int DEFAULT 0 ON EMPTY), json_query('{"a":1}', '$.a' WITH WRAPPER), json_exists('{"a":1}', '$.a'), json_scalar(1), json_serialize('{}'), json('{}')
-- 17+
SELECT t.a FROM json_table('[{"a":1}]'::jsonb, '$[*]' COLUMNS (a int PATH '$.a', o FOR ORDINALITY, NESTED PATH '$.b[*]' COLUMNS (c text))) t
-- 18+
UPDATE shape.dept SET name = 'x' WHERE id = 1 RETURNING old.name, new.name
-- 18+
SELECT v FROM shape.virt
SELECT current_setting('a'), nextval('shape.seq'), currval('shape.seq'::regclass)
SELECT a.attname FROM pg_catalog.pg_attribute a WHERE a.attrelid = 'shape.person'::regclass
SELECT table_name FROM information_schema.tables
