//! Requests that no HTTP library would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::node::{DEADLINE, Node};

/// Sends the bytes, says that no more come, and returns all that is answered.
pub(crate) async fn send_and_end(node: &Node, bytes: &[u8]) -> String {
    let mut connection = TcpStream::connect(&node.address).await.unwrap();
    connection.write_all(bytes).await.unwrap();
    connection.shutdown().await.unwrap();
    read_all(connection).await
}

/// Sends the bytes, leaves the connection open in both directions, and returns what is answered up to the
/// end of the connection.
pub(crate) async fn send(node: &Node, bytes: &[u8]) -> String {
    let mut connection = TcpStream::connect(&node.address).await.unwrap();
    connection.write_all(bytes).await.unwrap();
    let (mut reader, _open) = connection.split();
    let mut answer = String::new();
    timeout(DEADLINE, reader.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    answer
}

async fn read_all(mut connection: TcpStream) -> String {
    let mut answer = String::new();
    timeout(DEADLINE, connection.read_to_string(&mut answer))
        .await
        .unwrap()
        .unwrap();
    answer
}
