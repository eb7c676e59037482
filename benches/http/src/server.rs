//! An HTTP server in this process. Paths name what it does.

use std::net::SocketAddr;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// Starts it, and returns its address.
pub(crate) async fn start() -> std::io::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(serve(client));
        }
    });
    Ok(address)
}

async fn serve(mut client: TcpStream) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut read = Vec::with_capacity(4096);
    loop {
        let end = read.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let Some(end) = end else {
            if client.read_buf(&mut read).await? == 0 {
                return Ok(());
            }
            continue;
        };
        let head = String::from_utf8_lossy(&read[..end]).into_owned();
        let length = head.split("content-length: ").nth(1);
        let length = length.and_then(|rest| rest.split("\r\n").next()?.parse().ok());
        let all = end + 4 + length.unwrap_or(0);
        while read.len() < all {
            client.read_buf(&mut read).await?;
        }
        read.drain(..all);
        let answer = match head.split('/').nth(1) {
            Some("hangs") => std::future::pending().await,
            Some("throttles") => "429 Too Many Requests\r\nretry-after: 1",
            Some("redirects") => "302 Found\r\nlocation: /",
            _ => "200 OK",
        };
        let answer = format!("HTTP/1.1 {answer}\r\ncontent-length: 0\r\n\r\n");
        client.write_all(answer.as_bytes()).await?;
    }
}
