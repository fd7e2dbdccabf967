//! A replica that says what a test wants it to say.

use replication::proto::replica_message::Message;
use replication::proto::replication_client::ReplicationClient;
use replication::proto::{HeartbeatEcho, Hello, PrimaryMessage, ReplicaMessage, primary_message};
use tokio::sync::mpsc;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::{Status, Streaming};

pub struct FakeReplica {
    pub send: mpsc::UnboundedSender<ReplicaMessage>,
    pub receive: Streaming<PrimaryMessage>,
}

/// A hello that is accepted.
pub fn hello(node_id: u64) -> Hello {
    Hello {
        protocol_min: 1,
        protocol_max: 1,
        node_id,
        instance_id: node_id + 1000,
        hostname: "fake".to_owned(),
        ltx_version_min: 3,
        ltx_version_max: 3,
        ..Hello::default()
    }
}

impl FakeReplica {
    pub async fn connect(url: &str, first: Message) -> FakeReplica {
        let (send, requests) = mpsc::unbounded_channel();
        send.send(ReplicaMessage {
            message: Some(first),
        })
        .unwrap();
        let endpoint = tonic::transport::Endpoint::from_shared(url.to_owned()).unwrap();
        let mut client = ReplicationClient::new(endpoint.connect().await.unwrap());
        let response = client
            .replicate(UnboundedReceiverStream::new(requests))
            .await
            .unwrap();
        FakeReplica {
            send,
            receive: response.into_inner(),
        }
    }

    /// Gives signs of life until dropped.
    pub fn keep_alive(&self) {
        let send = self.send.downgrade();
        tokio::spawn(async move {
            let mut tick = tokio::time::interval(super::node::HEARTBEAT);
            loop {
                tick.tick().await;
                let Some(send) = send.upgrade() else { return };
                let echo = Message::HeartbeatEcho(HeartbeatEcho::default());
                if send
                    .send(ReplicaMessage {
                        message: Some(echo),
                    })
                    .is_err()
                {
                    return;
                }
            }
        });
    }

    pub fn say(&self, message: Message) {
        self.send
            .send(ReplicaMessage {
                message: Some(message),
            })
            .unwrap();
    }

    /// The next message that is not a heartbeat.
    pub async fn next(&mut self) -> Result<Option<primary_message::Message>, Status> {
        let next = async {
            loop {
                match self
                    .receive
                    .message()
                    .await?
                    .map(|message| message.message.unwrap())
                {
                    Some(primary_message::Message::Heartbeat(_)) => {}
                    other => return Ok(other),
                }
            }
        };
        tokio::time::timeout(super::SOON, next)
            .await
            .expect("the primary says nothing")
    }

    /// How the stream ends.
    pub async fn end(mut self) -> Result<(), Status> {
        while self.next().await?.is_some() {}
        Ok(())
    }
}
