//! The upstream contract, held by both sides over real sockets: the sender and the store on one
//! side; the sandbox, misbehaving servers and a foreign library on the other.

mod agreement;
mod delivering;
mod foreign;
mod misbehaving;
mod support;
