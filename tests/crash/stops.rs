use crate::machine::Stage;
