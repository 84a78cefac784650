//! A client for the servers in guests.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

/// Returns the answer of a server on `port` about `path`, as soon as it gives one; `None` once `is_over`.
pub fn fetch(port: u16, path: &str, is_over: impl Fn() -> bool) -> Option<String> {
    while !is_over() {
        let ask = || {
            let mut stream = TcpStream::connect(("127.0.0.1", port))?;
            stream.set_read_timeout(Some(Duration::from_secs(2)))?;
            write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok::<_, std::io::Error>(text)
        };
        // QEMU accepts connections before anybody in the guest listens.
        match ask() {
            Ok(text) if text.contains("200 OK") => return Some(text),
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
    None
}
