//! What an upstream may say on its connections, byte for byte, and that nobody gets another one's answer by it.

mod bound_connections;
mod connections;
mod framing;
mod scripted;
mod times;
mod transports;
mod uploads;

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nfine";
