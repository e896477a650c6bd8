//! What people see of the store: the same structs for `--json`, the admin API and the status page.
