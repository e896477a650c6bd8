//! The words under which the audit log keeps who came and went.

/// A session began.
pub const ACT_LOGIN: &str = "login";
/// A session was ended by its operator.
pub const ACT_LOGOUT: &str = "logout";
/// Somebody was not let in.
pub const ACT_REFUSED: &str = "login-refused";
