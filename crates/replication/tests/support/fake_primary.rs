//! A primary that says what a test wants it to say.

use replication::proto::primary_message::Message;
use replication::proto::replication_server::{Replication, ReplicationServer};
use replication::proto::{self, Hello, PrimaryMessage, ReplicaMessage, replica_message};
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio_stream::wrappers::{TcpListenerStream, UnboundedReceiverStream};
use tonic::{Request, Response, Status, Streaming};

/// A replica that has connected to a fake primary.
pub struct Connected {
    pub send: mpsc::UnboundedSender<Result<PrimaryMessage, Status>>,
    pub receive: Streaming<ReplicaMessage>,
}

struct Service(mpsc::UnboundedSender<Connected>);

#[tonic::async_trait]
impl Replication for Service {
    type ReplicateStream = UnboundedReceiverStream<Result<PrimaryMessage, Status>>;

    async fn replicate(
        &self,
        request: Request<Streaming<ReplicaMessage>>,
    ) -> Result<Response<Self::ReplicateStream>, Status> {
        let (send, messages) = mpsc::unbounded_channel();
        let connected = Connected {
            send,
            receive: request.into_inner(),
        };
        self.0
            .send(connected)
            .map_err(|_| Status::unavailable("the test is over"))?;
        Ok(Response::new(UnboundedReceiverStream::new(messages)))
    }
}

pub struct FakePrimary {
    pub url: String,
    connections: mpsc::UnboundedReceiver<Connected>,
}

impl FakePrimary {
    pub async fn start() -> FakePrimary {
        let (sender, connections) = mpsc::unbounded_channel();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let server = tonic::transport::Server::builder()
            .add_service(ReplicationServer::new(Service(sender)));
        tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));
        FakePrimary { url, connections }
    }

    /// The next replica that connects, after its hello.
    pub async fn accept(&mut self) -> (Connected, Hello) {
        let accept = self.connections.recv();
        let mut connected = tokio::time::timeout(super::SOON, accept)
            .await
            .expect("nobody connects")
            .unwrap();
        match connected.next().await {
            Some(replica_message::Message::Hello(hello)) => (connected, hello),
            other => panic!("expected a hello, got {other:?}"),
        }
    }
}

/// A hello that is accepted.
pub fn hello() -> Hello {
    Hello {
        heartbeat_ms: 100,
        epoch: 1,
        ..super::fake_replica::hello(77)
    }
}

impl Connected {
    /// Sends heartbeats until the stream is dropped.
    pub fn keep_alive(&self) {
        let send = self.send.downgrade();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(super::node::HEARTBEAT);
            loop {
                tick.tick().await;
                let Some(send) = send.upgrade() else { return };
                let heartbeat = Message::Heartbeat(proto::Heartbeat::default());
                if send
                    .send(Ok(PrimaryMessage {
                        message: Some(heartbeat),
                    }))
                    .is_err()
                {
                    return;
                }
            }
        });
    }

    /// Sends a message. If the replica has hung up that shows in what it does next.
    pub fn say(&self, message: Message) {
        let _ = self.send.send(Ok(PrimaryMessage {
            message: Some(message),
        }));
    }

    /// The next message that is not the echo of a heartbeat; None when the replica has hung up.
    pub async fn next(&mut self) -> Option<replica_message::Message> {
        let next = async {
            loop {
                match self.receive.message().await.ok()??.message.unwrap() {
                    replica_message::Message::HeartbeatEcho(_) => {}
                    other => return Some(other),
                }
            }
        };
        tokio::time::timeout(super::SOON, next)
            .await
            .expect("the replica says nothing")
    }
}
