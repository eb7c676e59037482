-- A clock that a test moves: its connections look for now() here before they look in pg_catalog.
CREATE SCHEMA test_clock;
CREATE TABLE test_clock.passed (time interval NOT NULL);
INSERT INTO test_clock.passed VALUES ('0');
CREATE FUNCTION test_clock.now() RETURNS timestamptz STABLE LANGUAGE sql
    AS 'SELECT pg_catalog.now() + time FROM test_clock.passed';
GRANT USAGE ON SCHEMA test_clock TO PUBLIC;
GRANT SELECT ON test_clock.passed TO PUBLIC;
