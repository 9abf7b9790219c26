"""The flag that the gate reads and the environment's open window are one fact, whoever writes them."""

from django.db import migrations

CREATE = """
CREATE FUNCTION environments_check_maintenance_flag() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    checked bigint := CASE TG_TABLE_NAME WHEN 'environments_environment' THEN NEW.id
                      ELSE (to_jsonb(NEW) ->> 'environment_id')::bigint END;
    flag bigint;
    open_window bigint;
BEGIN
    SELECT maintenance_window_id INTO flag FROM environments_environment WHERE id = checked;
    SELECT id INTO open_window FROM environments_maintenancewindow
        WHERE environment_id = checked AND status IN ('draining', 'in_force');
    IF flag IS DISTINCT FROM open_window THEN
        RAISE EXCEPTION 'environment %: its maintenance flag (%) and its open window (%) differ',
            checked, flag, open_window USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;

CREATE CONSTRAINT TRIGGER environment_maintenance_flag
AFTER UPDATE OF maintenance_window_id ON environments_environment DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION environments_check_maintenance_flag();

CREATE CONSTRAINT TRIGGER window_maintenance_flag
AFTER INSERT OR UPDATE OF status ON environments_maintenancewindow DEFERRABLE INITIALLY DEFERRED
FOR EACH ROW EXECUTE FUNCTION environments_check_maintenance_flag();
"""
DROP = """
DROP TRIGGER window_maintenance_flag ON environments_maintenancewindow;
DROP TRIGGER environment_maintenance_flag ON environments_environment;
DROP FUNCTION environments_check_maintenance_flag();
"""


class Migration(migrations.Migration):
    dependencies = [("environments", "0001_environments")]
    operations = [migrations.RunSQL(CREATE, DROP)]
