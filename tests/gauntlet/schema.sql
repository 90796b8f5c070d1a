-- The adversarial schema of the gauntlet: what a customer's database may hold that makes reading SQL hard.
-- Load it as superuser into an empty database of PostgreSQL 14 to 18 (psql -f schema.sql; one transaction, so that a
-- database that already has a schema "app" is left as it is), then schema_extra.sql. docs/gauntlet.md says how to go on.
-- Every person, address and number in it is invented.
BEGIN;

-- Roles belong to the cluster: those that are there already stay.
DO $$ BEGIN
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'hoop_agent') THEN
    CREATE ROLE hoop_agent LOGIN NOINHERIT;  -- the full login: what some policy may show or probe
  END IF;
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'hoop_clean') THEN
    CREATE ROLE hoop_clean LOGIN NOINHERIT;  -- the clean login: columns that are not personal
  END IF;
  IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'hoop_writer') THEN
    CREATE ROLE hoop_writer NOLOGIN;
  END IF;
END $$;
CREATE SCHEMA app; CREATE SCHEMA hr; CREATE SCHEMA audit; CREATE SCHEMA reporting;
SET LOCAL search_path = app, public;
CREATE EXTENSION IF NOT EXISTS citext SCHEMA public;
-- The others make the database richer in functions nobody should call; a server that lacks one is not the poorer.
DO $$ DECLARE wanted text; BEGIN
  FOREACH wanted IN ARRAY ARRAY['hstore', 'pgcrypto', 'dblink', 'postgres_fdw', 'tablefunc', 'xml2'] LOOP
    BEGIN
      EXECUTE format('CREATE EXTENSION IF NOT EXISTS %I SCHEMA public', wanted);
    EXCEPTION WHEN OTHERS THEN
      RAISE NOTICE 'extension % is not installed here', wanted;
    END;
  END LOOP;
END $$;

CREATE DOMAIN app.email_address AS text CHECK (VALUE ~ '@');
CREATE TYPE app.postal_address AS (street text, city text, postcode text, country char(2));
CREATE TYPE app.order_status AS ENUM ('new','paid','shipped','cancelled','refunded');

CREATE TABLE app.customers (
  id          bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  full_name   text NOT NULL,
  email       app.email_address NOT NULL UNIQUE,
  phone       text,
  address     app.postal_address,          -- composite-type column (PII)
  profile     jsonb NOT NULL DEFAULT '{}', -- jsonb with PII
  tags        text[] NOT NULL DEFAULT '{}',
  segment     text NOT NULL DEFAULT 'std',
  country     char(2) NOT NULL DEFAULT 'DE',
  created_at  timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE app.products (id int PRIMARY KEY, sku text UNIQUE, title text, price numeric(10,2), tags text[]);
CREATE TABLE app.orders (
  id bigint GENERATED ALWAYS AS IDENTITY, customer_id bigint NOT NULL, status app.order_status NOT NULL DEFAULT 'new',
  total numeric(12,2) NOT NULL, currency char(3) NOT NULL DEFAULT 'EUR', shipping_address text, note text,
  created_at timestamptz NOT NULL DEFAULT now(), PRIMARY KEY (id, created_at)
) PARTITION BY RANGE (created_at);
CREATE TABLE app.orders_2025 PARTITION OF app.orders FOR VALUES FROM ('2025-01-01') TO ('2026-01-01');
CREATE TABLE app.orders_2026 PARTITION OF app.orders FOR VALUES FROM ('2026-01-01') TO ('2027-01-01');
CREATE TABLE app.order_items (order_id bigint, product_id int REFERENCES app.products, qty int, unit_price numeric(10,2));
CREATE TABLE app.payments (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, order_id bigint, amount numeric(12,2), method text,
  card_pan text, card_last4 char(4), iban text, paid_at timestamptz
);
CREATE TABLE app.support_tickets (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, customer_id bigint, subject text, body text, -- free text: may hold PII
  status text DEFAULT 'open', priority int DEFAULT 3, payload jsonb, created_at timestamptz DEFAULT now(),
  body_tsv tsvector GENERATED ALWAYS AS (to_tsvector('english', coalesce(subject,'')||' '||coalesce(body,''))) STORED
);
CREATE TABLE hr.employees (
  id int PRIMARY KEY, full_name text, work_email citext, ssn text, salary numeric(10,2), dept text, manager_id int, hired_on date
);
-- classic inheritance: PII exists only in the child
CREATE TABLE app.contacts (id bigint PRIMARY KEY, label text);
CREATE TABLE app.contacts_private (private_phone text, birth_date date) INHERITS (app.contacts);
CREATE TABLE app."Customers" (id int, note text);            -- case-folding trap: not PII
CREATE TABLE public.customers (id int, "comment" text);       -- search_path trap: same name, no PII
-- audit-ish tables: agent may not write; access_log readable, secrets not
CREATE TABLE audit.access_log (id bigint GENERATED ALWAYS AS IDENTITY, actor text, action text, object text, old_row jsonb, at timestamptz DEFAULT now());
CREATE TABLE audit.api_keys (id int, owner text, secret text);
-- views
CREATE VIEW reporting.customer_contact AS SELECT id, email AS contact, phone, segment FROM app.customers;
CREATE VIEW reporting.customer_stats AS SELECT country, segment, count(*) AS n FROM app.customers GROUP BY 1,2;
CREATE VIEW reporting.order_overview AS
  SELECT o.id, o.status, o.total, o.created_at, c.full_name AS buyer, c.country FROM app.orders o JOIN app.customers c ON c.id=o.customer_id;
CREATE VIEW reporting.contact_cards AS SELECT cc.id, upper(cc.contact::text)||' / '||coalesce(cc.phone,'-') AS card FROM reporting.customer_contact cc; -- view on view
CREATE VIEW reporting.all_people (kind, ident) AS SELECT 'c', email::text FROM app.customers UNION ALL SELECT 'e', work_email::text FROM hr.employees;
CREATE MATERIALIZED VIEW reporting.customer_mv AS SELECT c.id, c.email::text AS mail, c.segment, count(o.id) AS n_orders FROM app.customers c LEFT JOIN app.orders o ON o.customer_id=c.id GROUP BY 1,2,3;
CREATE MATERIALIZED VIEW reporting.daily_sales AS SELECT date_trunc('day', created_at) AS day, currency, sum(total) AS total, count(*) AS n FROM app.orders GROUP BY 1,2;
-- functions
CREATE FUNCTION app.order_total(oid bigint) RETURNS numeric LANGUAGE sql STABLE AS $$ SELECT sum(qty*unit_price) FROM app.order_items WHERE order_id=oid $$;
CREATE FUNCTION app.customer_email(cid bigint) RETURNS text LANGUAGE sql STABLE AS $$ SELECT email::text FROM app.customers WHERE id=cid $$;
CREATE FUNCTION app.find_customers(pat text) RETURNS TABLE(cid bigint, hit text) LANGUAGE sql STABLE AS $$ SELECT id, email::text FROM app.customers WHERE email LIKE pat $$;
CREATE FUNCTION app.salary_of(eid int) RETURNS numeric LANGUAGE sql SECURITY DEFINER AS $$ SELECT salary FROM hr.employees WHERE id=eid $$;
CREATE FUNCTION app.contact(c app.customers) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT c.email::text $$;      -- usable as c.contact
CREATE FUNCTION app.net(total numeric) RETURNS numeric LANGUAGE sql IMMUTABLE AS $$ SELECT round(total/1.19,2) $$;
CREATE FUNCTION app.refund(oid bigint) RETURNS void LANGUAGE plpgsql VOLATILE AS $$ BEGIN UPDATE app.orders SET status='refunded' WHERE id=oid; END $$;
CREATE FUNCTION app.boom(t text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN RAISE EXCEPTION 'value: %', t; END $$;
CREATE FUNCTION app.run_sql(q text) RETURNS SETOF record LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN RETURN QUERY EXECUTE q; END $$;
CREATE FUNCTION app.log_change() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN INSERT INTO audit.access_log(actor,action,object,old_row) VALUES (current_user,TG_OP,TG_TABLE_NAME,to_jsonb(OLD)); RETURN NEW; END $$;
CREATE TRIGGER customers_audit AFTER UPDATE ON app.customers FOR EACH ROW EXECUTE FUNCTION app.log_change();
CREATE FUNCTION app.cust_has(c app.customers, i int) RETURNS text LANGUAGE sql IMMUTABLE AS $$ SELECT c.phone $$;
CREATE OPERATOR app.<~> (LEFTARG = app.customers, RIGHTARG = int, FUNCTION = app.cust_has);  -- operator that reads PII from a row value
CREATE AGGREGATE app.cat(text) (SFUNC = textcat, STYPE = text, INITCOND = '');               -- user-defined aggregate
CREATE RULE ticket_rule AS ON UPDATE TO app.support_tickets DO ALSO INSERT INTO audit.access_log(actor,action,object) VALUES (current_user,'rule','ticket');
CREATE VIEW reporting.open_tickets AS SELECT id, subject, status, priority FROM app.support_tickets WHERE status='open'; -- auto-updatable
ALTER TABLE audit.access_log ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON audit.access_log FOR SELECT USING (actor = current_user);
CREATE FOREIGN DATA WRAPPER dummy_fdw;
CREATE SERVER crm FOREIGN DATA WRAPPER dummy_fdw;
CREATE FOREIGN TABLE app.crm_leads (id int, lead_email text, score int) SERVER crm;
CREATE SEQUENCE app.ticket_seq;

INSERT INTO app.customers(full_name,email,phone,address,profile,tags,segment,country) VALUES
 ('Alice Ashworth','alice.ashworth@example.com','+49 151 5550001',ROW('1 Elm St','Berlin','10115','DE'),'{"ssn":"123-45-6789","contact":{"email":"alice.priv@example.net"},"plan":"gold"}','{vip}','vip','DE'),
 ('Bob Brandt','bob.brandt@example.org','+49 151 5550002',ROW('2 Oak St','Hamburg','20095','DE'),'{"plan":"free"}','{}','std','DE'),
 ('Carol Cheng','carol.cheng@example.com','+44 7700 900003',ROW('3 Ash St','London','N1','GB'),'{"plan":"gold"}','{beta}','std','GB');
INSERT INTO app.products VALUES (1,'SKU-1','Widget',9.99,'{a,b}'),(2,'SKU-2','Gadget',19.50,'{b}');
INSERT INTO app.orders(customer_id,status,total,shipping_address,note,created_at) VALUES (1,'paid',100,'1 Elm St, Berlin','ring twice','2026-02-01'),(1,'new',20,'1 Elm St, Berlin',NULL,'2025-07-01'),(2,'shipped',50,'2 Oak St, Hamburg',NULL,'2026-03-01');
INSERT INTO app.order_items VALUES (1,1,10,9.99),(2,2,1,19.5),(3,1,5,9.99);
INSERT INTO app.payments(order_id,amount,method,card_pan,card_last4,iban,paid_at) VALUES (1,100,'card','4111111111111111','1111',NULL,now()),(3,50,'sepa',NULL,NULL,'DE89370400440532013000',now());
INSERT INTO app.support_tickets(customer_id,subject,body,payload) VALUES (1,'Login','My mail is alice.ashworth@example.com call +49 151 5550001','{"from":"alice.ashworth@example.com"}');
INSERT INTO hr.employees VALUES (1,'Erin Ek','erin@corp.example','987-65-4321',90000,'eng',NULL,'2020-01-01'),(2,'Finn Fox','finn@corp.example','987-65-0000',70000,'eng',1,'2021-01-01');
INSERT INTO app.contacts_private VALUES (1,'x','+1 555 0100','1980-01-01');
INSERT INTO app."Customers" VALUES (1,'no pii'); INSERT INTO public.customers VALUES (1,'no pii');
INSERT INTO audit.api_keys VALUES (1,'root','s3cr3t');
REFRESH MATERIALIZED VIEW reporting.customer_mv; REFRESH MATERIALIZED VIEW reporting.daily_sales;
ANALYZE;

-- The two logins, as policies/analyst.yaml owes them. What PUBLIC may, a login may: TEMP and EXECUTE are taken away.
DO $$ BEGIN
  EXECUTE format('REVOKE TEMP, CREATE ON DATABASE %I FROM PUBLIC', current_database());
  EXECUTE format('GRANT CONNECT ON DATABASE %I TO hoop_agent, hoop_clean', current_database());
  IF current_setting('server_version_num')::int >= 150000 THEN
    EXECUTE 'GRANT SET ON PARAMETER log_min_messages TO hoop_agent, hoop_clean';
  ELSE
    ALTER ROLE hoop_agent SET log_min_messages = 'panic';
    ALTER ROLE hoop_clean SET log_min_messages = 'panic';
  END IF;
END $$;
ALTER ROLE hoop_agent SET temp_file_limit = '1GB';
ALTER ROLE hoop_clean SET temp_file_limit = '1GB';
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA app, reporting, hr, audit, public TO hoop_agent, hoop_clean;
GRANT SELECT ON ALL TABLES IN SCHEMA app, reporting, hr TO hoop_agent;
GRANT SELECT ON audit.access_log, public.customers TO hoop_agent;
GRANT SELECT ON app."Customers", app.contacts, app.order_items, app.products, audit.access_log, public.customers,
  reporting.customer_stats, reporting.daily_sales TO hoop_clean;
GRANT SELECT (id, label) ON app.contacts_private TO hoop_clean;
GRANT SELECT (id, score) ON app.crm_leads TO hoop_clean;
GRANT SELECT (id, tags, segment, country, created_at) ON app.customers TO hoop_clean;
GRANT SELECT (id, customer_id, status, total, currency, created_at) ON app.orders, app.orders_2025, app.orders_2026
  TO hoop_clean;
GRANT SELECT (id, order_id, amount, method, paid_at) ON app.payments TO hoop_clean;
GRANT SELECT (id, customer_id, status, priority, created_at) ON app.support_tickets TO hoop_clean;
GRANT SELECT (id, dept, manager_id, hired_on) ON hr.employees TO hoop_clean;
GRANT SELECT (kind) ON reporting.all_people TO hoop_clean;
GRANT SELECT (id) ON reporting.contact_cards TO hoop_clean;
GRANT SELECT (id, segment) ON reporting.customer_contact TO hoop_clean;
GRANT SELECT (id, segment, n_orders) ON reporting.customer_mv TO hoop_clean;
GRANT SELECT (id, status, priority) ON reporting.open_tickets TO hoop_clean;
GRANT SELECT (id, status, total, created_at, country) ON reporting.order_overview TO hoop_clean;
REVOKE EXECUTE ON FUNCTION app.salary_of(int), app.refund(bigint), app.boom(text), app.run_sql(text), app.log_change()
  FROM PUBLIC;

-- policy facts the decisions in corpus.jsonl assume
--  search_path pinned: app, public ; single statement ; session role hoop_agent
--  PII columns: app.customers(full_name,email,phone,address,profile) app.orders(shipping_address,note) app.payments(card_pan,card_last4,iban)
--               app.support_tickets(subject,body,payload,body_tsv) hr.employees(full_name,work_email,ssn,salary)
--               app.contacts_private(private_phone,birth_date) app.crm_leads(lead_email)
--               + view/matview columns derived from them (reporting.customer_contact.contact/phone, order_overview.buyer, contact_cards.card,
--                 all_people.ident, customer_mv.mail, open_tickets.subject)
--  DENIED relations: audit.api_keys, and every pg_catalog/information_schema relation that is not on the metadata allow-list
--  (allow-list: information_schema.tables/columns/schemata/views(no definition), pg_class, pg_namespace, pg_attribute, pg_type, pg_index, pg_constraint)
--  writable by approval (hold): app.orders, app.order_items, app.products, app.support_tickets, app.payments, app.customers
--  never writable (deny): hr.*, audit.*, catalogs
--  "small write" auto-allow does not exist in this corpus: every INSERT/UPDATE/DELETE/MERGE on a writable table => hold
--  UPDATE/DELETE without WHERE => deny; TRUNCATE/DDL/DCL/admin/session state => deny

COMMIT;
