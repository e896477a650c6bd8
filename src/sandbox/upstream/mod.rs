//! The reference implementation of the receiving side of the upstream contract.
