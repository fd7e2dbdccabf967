//! Servers that are no Consul.

use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// Takes one connection, reads a request and leaves the rest to `answer`. The address, and the request's text.
async fn server<F: Future<Output = ()> + Send + 'static>(
    answer: impl FnOnce(TcpStream) -> F + Send + 'static,
) -> (SocketAddr, tokio::task::JoinHandle<String>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let task = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        while !request.windows(4).any(|end| end == b"\r\n\r\n") {
            let mut bytes = [0; 1024];
            let length = stream.read(&mut bytes).await.unwrap();
            assert!(length > 0, "the request ends early");
            request.extend_from_slice(&bytes[..length]);
        }
        answer(stream).await;
        String::from_utf8(request).unwrap()
    });
    (address, task)
}

fn transport(address: SocketAddr) -> Transport {
    let url = ConsulUrl::parse(&format!("http://:sEcReT@{address}/app")).unwrap();
    Transport::new(&url, &ConsulEnvironment::default(), PATIENCE).unwrap()
}

async fn get(address: SocketAddr, patience: Duration) -> Result<Reply, Error> {
    let transport = transport(address);
    transport
        .request(Method::GET, "/v1/kv/a%2Fb?consistent", Vec::new(), patience)
        .await
}

fn reason(answer: Result<Reply, Error>) -> String {
    match answer {
        Err(Error::Unreachable(text)) => text,
        Err(error) => panic!("{error:?}"),
        Ok(reply) => panic!("{}", reply.status),
    }
}

#[tokio::test]
async fn a_request_is_what_was_asked_for_and_the_token() {
    let (address, request) = server(async |mut stream| {
        let answer = b"HTTP/1.1 200 OK\r\nX-Consul-Index: 7\r\nContent-Length: 4\r\n\r\ntrue";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let reply = transport(address)
        .request(Method::PUT, "/v1/kv/a%2Fb?cas=0", b"x".to_vec(), PATIENCE)
        .await
        .unwrap();
    assert_eq!(reply.status, StatusCode::OK);
    assert_eq!(reply.index, Some(7));
    assert_eq!(&reply.body[..], b"true");
    let request = request.await.unwrap().to_ascii_lowercase();
    for part in [
        "put /v1/kv/a%2fb?cas=0 http/1.1\r\n".to_owned(),
        format!("\r\nhost: {address}\r\n"),
        "\r\nx-consul-token: secret\r\n".to_owned(),
        "\r\ncontent-type: application/json\r\n".to_owned(),
        "\r\ncontent-length: 1\r\n".to_owned(),
    ] {
        assert!(request.contains(&part), "{part:?} in {request}");
    }
}

#[tokio::test]
async fn nothing_is_sent_as_nothing() {
    let (address, request) = server(async |mut stream| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let transport = transport(address);
    let sent = transport.request(Method::PUT, "/v1/session/renew/1", Vec::new(), PATIENCE);
    assert_eq!(sent.await.unwrap().index, None);
    let request = request.await.unwrap().to_ascii_lowercase();
    assert!(request.ends_with("\r\n\r\n"), "{request}");
    assert!(!request.contains("content-type"), "{request}");
}

#[tokio::test]
async fn the_token_follows_no_redirect() {
    let elsewhere = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let target = elsewhere.local_addr().unwrap();
    let (address, _request) = server(async move |mut stream| {
        let answer = format!(
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://{target}/\r\nContent-Length: 0\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
    })
    .await;
    let reply = get(address, Duration::from_secs(2)).await.unwrap();
    assert_eq!(reply.status, StatusCode::TEMPORARY_REDIRECT);
}

#[tokio::test]
async fn an_answer_without_end_is_given_up() {
    let (address, _request) = server(async |mut stream| {
        let head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut chunk = b"100000\r\n".to_vec();
        chunk.resize(chunk.len() + 0x10_0000, b'x');
        chunk.extend_from_slice(b"\r\n");
        while stream.write_all(&chunk).await.is_ok() {}
    })
    .await;
    let text = reason(get(address, PATIENCE).await);
    let expected = format!("consul at http://{address}: length limit exceeded");
    assert_eq!(text, expected);
}

#[tokio::test]
async fn an_answer_that_ends_early_is_none() {
    let (address, _request) = server(async |mut stream| {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf";
        stream.write_all(answer).await.unwrap();
    })
    .await;
    let text = reason(get(address, PATIENCE).await);
    assert!(
        text.ends_with(": end of file before message length reached"),
        "{text}"
    );
}

#[tokio::test]
async fn the_deadline_holds_for_the_whole_answer() {
    for head in ["", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf"] {
        let (address, request) = server(async move |mut stream| {
            stream.write_all(head.as_bytes()).await.unwrap();
            std::future::pending::<()>().await;
        })
        .await;
        let text = reason(get(address, Duration::from_millis(100)).await);
        let expected = format!("consul at http://{address}: no answer within 100 ms");
        assert_eq!(text, expected);
        request.abort();
    }
}

#[tokio::test]
async fn nobody_there_is_said_in_short() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let text = reason(get(address, PATIENCE).await);
    let expected = format!("consul at http://{address}: Connection refused (os error 111)");
    assert_eq!(text, expected);
}
