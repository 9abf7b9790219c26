"""Triggers that keep the log append-only, for everybody: the owner of the tables and replication too (ENABLE ALWAYS).

Only retention may delete: in a transaction that names, in the local setting `lifetime.audit_anchor`, an anchor that it
has left; only entries up to that anchor, and none of the last 30 days whatever the configuration says. Entries may be
inserted only as the chain's next ones.
"""

from django.db import migrations

CREATE = """
CREATE FUNCTION audit_refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'The audit log is append-only: % on % is refused', TG_OP, TG_TABLE_NAME
        USING ERRCODE = 'restrict_violation';
END $$;

CREATE FUNCTION audit_delete_before_anchor() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    anchor bigint := nullif(current_setting('lifetime.audit_anchor', true), '')::bigint;
BEGIN
    IF anchor IS NULL THEN
        RAISE EXCEPTION 'The audit log is append-only: DELETE on % is refused', TG_TABLE_NAME
            USING ERRCODE = 'restrict_violation';
    END IF;
    IF NOT EXISTS (SELECT FROM audit_anchor WHERE number = anchor)
        OR EXISTS (SELECT FROM removed WHERE number > anchor OR at > now() - interval '30 days') THEN
        RAISE EXCEPTION 'The audit log is append-only: only old entries up to a signed anchor may be deleted'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION audit_insert_next() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    head audit_chainhead;
    entries bigint;
    first bigint;
    last bigint;
BEGIN
    SELECT count(*), min(number), max(number) INTO entries, first, last FROM added;
    IF entries = 0 THEN
        RETURN NULL;
    END IF;
    SELECT * INTO head FROM audit_chainhead;
    IF head.number IS DISTINCT FROM last OR entries <> last - first + 1
        OR head.hash <> (SELECT hash FROM added WHERE number = last) THEN
        RAISE EXCEPTION 'Audit entries are written by audit.log only, as the next of the chain'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE FUNCTION audit_head_forward() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.number <= OLD.number OR NEW.at < OLD.at THEN
        RAISE EXCEPTION 'The head of the audit log only moves forward'
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_no_delete AFTER DELETE ON audit_auditevent REFERENCING OLD TABLE AS removed
    FOR EACH STATEMENT EXECUTE FUNCTION audit_delete_before_anchor();
CREATE TRIGGER audit_no_truncate BEFORE TRUNCATE ON audit_auditevent
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_next AFTER INSERT ON audit_auditevent REFERENCING NEW TABLE AS added
    FOR EACH STATEMENT EXECUTE FUNCTION audit_insert_next();
CREATE TRIGGER audit_no_change BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_anchor
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_no_removal BEFORE DELETE OR TRUNCATE ON audit_chainhead
    FOR EACH STATEMENT EXECUTE FUNCTION audit_refuse();
CREATE TRIGGER audit_forward BEFORE UPDATE ON audit_chainhead
    FOR EACH ROW EXECUTE FUNCTION audit_head_forward();

ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER audit_no_update;
ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER audit_no_delete;
ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER audit_no_truncate;
ALTER TABLE audit_auditevent ENABLE ALWAYS TRIGGER audit_next;
ALTER TABLE audit_anchor ENABLE ALWAYS TRIGGER audit_no_change;
ALTER TABLE audit_chainhead ENABLE ALWAYS TRIGGER audit_no_removal;
ALTER TABLE audit_chainhead ENABLE ALWAYS TRIGGER audit_forward;
"""

DROP = """
DROP TRIGGER audit_no_update ON audit_auditevent;
DROP TRIGGER audit_no_delete ON audit_auditevent;
DROP TRIGGER audit_no_truncate ON audit_auditevent;
DROP TRIGGER audit_next ON audit_auditevent;
DROP TRIGGER audit_no_change ON audit_anchor;
DROP TRIGGER audit_no_removal ON audit_chainhead;
DROP TRIGGER audit_forward ON audit_chainhead;
DROP FUNCTION audit_refuse, audit_delete_before_anchor, audit_insert_next, audit_head_forward;
"""


class Migration(migrations.Migration):
    dependencies = [("audit", "0001_initial")]

    operations = [migrations.RunSQL(CREATE, DROP)]
