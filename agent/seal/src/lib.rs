//! The envelope of what agents send: who may open it, who sealed it, and whether it came before.
//!
//! Bytes in, bytes out: sockets, clocks and limits on time are the transport's.

pub mod key;
pub mod seal;
pub mod value;
pub mod replay;
