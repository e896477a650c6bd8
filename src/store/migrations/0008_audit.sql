-- Each line of the audit log is chained to the one before: SHA-256 over its chain and the line. NULL: written before this.
ALTER TABLE audit ADD COLUMN chain BLOB;

-- `detail` may be sealed anew; what it says is part of the chain.
CREATE TRIGGER audit_is_not_rewritten BEFORE UPDATE OF id, at, who, act, subject, chain ON audit
BEGIN
    SELECT RAISE(ABORT, 'the audit log is only appended to');
END;
