//! Takes an answer down, byte for byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::bail;

use super::wire::MessageReader;

/// Sends `request` once and returns the answer with its head.
pub fn answer(address: SocketAddr, request: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_secs(10)))?;
    stream.write_all(request)?;
    let mut reader = MessageReader::of_responses();
    let mut answer = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let count = stream.read(&mut buffer)?;
        let bytes = buffer.get(..count).unwrap_or_default();
        answer.extend_from_slice(bytes);
        let is_complete = reader.feed(bytes)?;
        if reader.status().is_some_and(|status| status != 200) || (count == 0 && !is_complete) {
            bail!("the simulator answers:\n{}", String::from_utf8_lossy(&answer));
        }
        if is_complete {
            return Ok(answer);
        }
    }
}
