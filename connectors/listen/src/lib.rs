//! What connectors that listen on a port have in common: the port itself, who may connect,
//! encryption, and warnings that a peer can't fill the disk with.

mod gripes;
mod peers;
mod port;
mod tls;

pub use gripes::Gripes;
pub use peers::Peers;
pub use port::{Door, Opened, Port};
pub use tls::Tls;
