//! JSON Object Signing and Encryption (RFC 7515 to 7519), as far as the gate speaks it. A leaf.

pub mod sign;
