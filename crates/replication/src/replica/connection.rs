//! One connection to the primary, from the attempt to its end.

use std::collections::HashSet;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use store::{ClusterId, DbName, Store};
use tokio::sync::mpsc;
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Streaming;
use tonic::transport::{Channel, Endpoint};

use super::announcer::Announcer;
use super::heartbeats::Heartbeats;
use super::inbound::Inbound;
use super::lane::Job;
use super::lanes::Lanes;
use super::link::Link;
use super::{FollowState, Follower};
use crate::error::{Error, Violation};
use crate::hello::{Filter, Introduction, Peer};
use crate::proto::replication_client::ReplicationClient;
use crate::proto::{self, PrimaryMessage, ReplicaMessage, primary_message, replica_message};
use crate::wire::{
    CHUNK_MAX, DATABASES_MAX, MESSAGE_MAX, PAGE_MAX, WINDOW_MAX, to_history, to_state,
};

/// HTTP/2 windows: the credit of each database is what limits it, not these.
const STREAM_WINDOW: u32 = 2 * WINDOW_MAX as u32;
const CONNECTION_WINDOW: u32 = 2 * STREAM_WINDOW;

/// Time for a refusal to reach the primary before we hang up.
const FAREWELL: Duration = Duration::from_secs(1);

/// Longest silence that a primary's heartbeat may make us accept.
const SILENCE_MAX: Duration = Duration::from_secs(60);

/// One connection to the primary.
pub(super) struct Connection<'a> {
    follower: &'a mut Follower,
    lanes: &'a mut Lanes,
    announcer: &'a Announcer,
    filter: Filter,
    accepted: bool,
}

/// A stream that was accepted by both sides.
struct Accepted {
    incoming: Streaming<PrimaryMessage>,
    link: Arc<Link>,
    inbound: Inbound,
    heartbeats: Heartbeats,
    /// Databases that were asked for because of a damaged page.
    asked: HashSet<DbName>,
    /// The answer to the last pull.
    answering: Option<JoinHandle<()>>,
    pulls: usize,
}

impl Accepted {
    /// Answers a pull, after those before it.
    fn answer(&mut self, store: &Arc<Store>, pull: proto::Pull) -> Result<(), Violation> {
        self.pulls += 1;
        if self.pulls > DATABASES_MAX {
            return Err(Violation::TooMany {
                what: "pulls",
                max: DATABASES_MAX,
            });
        }
        let (store, link) = (Arc::clone(store), Arc::clone(&self.link));
        let before = self.answering.take();
        self.answering = Some(tokio::spawn(async move {
            if let Some(before) = before {
                // It has said itself what went wrong.
                let _ = before.await;
            }
            let answer = move || super::tail::answer(&store, &link, &pull);
            if let Ok(Err(violation)) = spawn_blocking(answer).await {
                tracing::warn!(%violation, "the primary asks for what there cannot be");
            }
        }));
        Ok(())
    }
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        follower: &'a mut Follower,
        lanes: &'a mut Lanes,
        announcer: &'a Announcer,
    ) -> Connection<'a> {
        let filter = Filter::new(follower.config.filter.clone());
        Connection {
            follower,
            lanes,
            announcer,
            filter,
            accepted: false,
        }
    }

    /// Whether both sides went on with each other.
    pub(super) fn was_accepted(&self) -> bool {
        self.accepted
    }

    /// Runs until it ends, and says why.
    pub(super) async fn run(&mut self) -> Error {
        match self.try_run().await {
            Err(error) => error,
        }
    }

    async fn try_run(&mut self) -> Result<Infallible, Error> {
        let silence = self.follower.config.silence();
        let busy = self.lanes.detach();
        let introduction = self.introduction();
        let (outgoing, requests) = mpsc::unbounded_channel();
        for message in self.hello(&introduction, &busy) {
            // The receiver is in our hands.
            let _ = outgoing.send(message);
        }
        let channel = self.connect().await?;
        let open = open(channel, requests);
        let mut incoming = timeout(silence, open)
            .await
            .unwrap_or(Err(Error::Silent(silence)))?;
        let hello = timeout(silence, receive_hello(&mut incoming));
        let hello = hello.await.unwrap_or(Err(Error::Silent(silence)))?;
        let peer = match introduction.check_primary(&hello) {
            Ok(peer) => peer,
            Err(error) => {
                say_farewell(&error, outgoing, incoming).await;
                return Err(error);
            }
        };
        self.accept(&peer).await?;
        let ended = CancellationToken::new();
        let _guard = ended.clone().drop_guard();
        let link = Link::new(outgoing, ended);
        self.lanes.attach(Arc::clone(&link));
        let inbound = Inbound::new(self.filter.clone());
        let mut stream = Accepted {
            incoming,
            link,
            inbound,
            heartbeats: Heartbeats::default(),
            asked: HashSet::new(),
            answering: None,
            pulls: 0,
        };
        let heartbeats = Duration::from_millis(u64::from(peer.heartbeat_ms)).saturating_mul(3);
        self.receive(&mut stream, silence.max(heartbeats.min(SILENCE_MAX)))
            .await
    }

    fn introduction(&self) -> Introduction {
        let store = &self.follower.store;
        Introduction {
            cluster: store.cluster_id(),
            node_id: store.node_id(),
            instance_id: store.instance_id(),
            hostname: self.follower.config.hostname.clone(),
            epoch: self.follower.epoch,
        }
    }

    /// Our hello, with the databases in pages.
    fn hello(&self, introduction: &Introduction, busy: &HashSet<DbName>) -> Vec<ReplicaMessage> {
        use replica_message::Message;
        let states: Vec<_> = self
            .follower
            .store
            .databases()
            .iter()
            .filter(|database| self.filter.passes(database.name()))
            .map(|database| proto::DatabaseState {
                history: to_history(&database.history()),
                ..to_state(database, busy.contains(database.name()))
            })
            .collect();
        let mut pages = states.chunks(PAGE_MAX).map(<[_]>::to_vec);
        let mut left = states.len().div_ceil(PAGE_MAX).saturating_sub(1);
        let mut hello = introduction.to_hello();
        hello.filter = self.filter.names();
        hello.candidate = self.follower.config.candidate;
        hello.databases = pages.next().unwrap_or_default();
        hello.more_databases = left > 0;
        let mut messages = vec![Message::Hello(hello)];
        for databases in pages {
            left -= 1;
            messages.push(Message::HelloDatabases(proto::HelloDatabases {
                databases,
                more_databases: left > 0,
            }));
        }
        messages
            .into_iter()
            .map(|message| ReplicaMessage {
                message: Some(message),
            })
            .collect()
    }

    async fn connect(&self) -> Result<Channel, Error> {
        let config = &self.follower.config;
        let url = config.primary.advertise_url.clone();
        if !url.starts_with("http://") {
            return Err(Error::Url {
                url,
                reason: "only http:// is supported".to_owned(),
            });
        }
        let endpoint = Endpoint::from_shared(url.clone())
            .map_err(|error| Error::Url {
                url: url.clone(),
                reason: error.to_string(),
            })?
            .connect_timeout(config.silence())
            .tcp_nodelay(true)
            .tcp_keepalive(Some(config.silence()))
            .http2_keep_alive_interval(config.silence() / 2)
            .keep_alive_timeout(config.silence() / 2)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(CONNECTION_WINDOW)
            .max_frame_size(CHUNK_MAX as u32);
        endpoint
            .connect()
            .await
            .map_err(|source| Error::Transport { url, source })
    }

    /// Both sides go on with each other: takes what the primary's hello says for ours.
    async fn accept(&mut self, peer: &Peer) -> Result<(), Error> {
        if let Some(theirs) = &peer.cluster {
            self.adopt(theirs.clone()).await?;
        }
        self.accepted = true;
        self.follower.epoch = peer.epoch;
        let primary = &self.follower.config.primary;
        tracing::info!(
            url = %primary.advertise_url,
            hostname = %peer.hostname,
            node = format_args!("{:016x}", peer.node_id),
            epoch = %peer.epoch,
            "following the primary"
        );
        self.announcer.announce(Some(primary.clone()));
        self.follower.state.send_replace(FollowState::Connected);
        Ok(())
    }

    async fn adopt(&self, theirs: ClusterId) -> Result<(), Error> {
        let store = &self.follower.store;
        if store.cluster_id().is_some() {
            return Ok(());
        }
        tracing::info!(cluster = %theirs, "joining the cluster of the primary");
        let store = Arc::clone(store);
        match spawn_blocking(move || store.adopt_cluster_id(theirs)).await {
            Ok(adopted) => Ok(adopted?),
            Err(_) => Err(Error::Closed),
        }
    }

    async fn receive(
        &mut self,
        stream: &mut Accepted,
        silence: Duration,
    ) -> Result<Infallible, Error> {
        loop {
            let received = match timeout(silence, stream.incoming.message()).await {
                Ok(received) => received?.ok_or(Error::Closed)?,
                Err(_) => return Err(Error::Silent(silence)),
            };
            self.handle(stream, received.message.ok_or(Violation::Empty)?)?;
        }
    }

    fn handle(
        &mut self,
        stream: &mut Accepted,
        message: primary_message::Message,
    ) -> Result<(), Error> {
        use primary_message::Message;
        match message {
            Message::Chunk(chunk) => {
                let (name, round, piece) = stream.inbound.chunk(chunk)?;
                self.lanes.push(name, round, Job::Piece(piece))?;
            }
            Message::Abort(abort) => {
                let (name, round) = stream.inbound.abort(&abort)?;
                self.lanes.push(name, round, Job::Abort)?;
            }
            Message::Drop(drop) => {
                let (name, round) = stream.inbound.drop(&drop)?;
                self.lanes.push(name, round, Job::Drop)?;
            }
            Message::Ready(_) => {
                self.follower.state.send_replace(FollowState::InSync);
            }
            Message::Heartbeat(heartbeat) => {
                self.heartbeat(stream, heartbeat)?;
                self.ask_for_damaged(&mut stream.asked);
            }
            Message::Pull(pull) => {
                stream.answer(&self.follower.store, pull)?;
            }
            Message::Refusal(refusal) => return Err(refused(refusal)),
            Message::Hello(_) => return Err(Violation::Unexpected("hello").into()),
        }
        Ok(())
    }

    /// Databases in which a scrub found a damaged page are asked for, once.
    fn ask_for_damaged(&mut self, asked: &mut HashSet<DbName>) {
        for database in self.follower.store.databases() {
            let name = database.name();
            if !database.wants_content() {
                asked.remove(name);
            } else if self.filter.passes(name) && asked.insert(name.clone()) {
                self.lanes.ask_for_all(name);
            }
        }
    }

    fn heartbeat(&self, stream: &mut Accepted, heartbeat: proto::Heartbeat) -> Result<(), Error> {
        let store: &Store = &self.follower.store;
        let page = stream.heartbeats.page(heartbeat)?;
        let (primary_ms, last) = (page.primary_ms, page.last);
        let level = stream
            .link
            .clock()
            .lock()
            .page(primary_ms, page.databases, last, |name| {
                store
                    .database(name)
                    .map(|ours| (ours.incarnation(), ours.pos()))
            });
        if last {
            store.note_primary_clock(primary_ms, level.is_some());
            let echo = proto::HeartbeatEcho { primary_ms };
            stream
                .link
                .send(replica_message::Message::HeartbeatEcho(echo));
        }
        Ok(())
    }
}

async fn open(
    channel: Channel,
    requests: mpsc::UnboundedReceiver<ReplicaMessage>,
) -> Result<Streaming<PrimaryMessage>, Error> {
    let mut client = ReplicationClient::new(channel)
        .max_decoding_message_size(MESSAGE_MAX)
        .max_encoding_message_size(MESSAGE_MAX);
    let response = client
        .replicate(UnboundedReceiverStream::new(requests))
        .await?;
    Ok(response.into_inner())
}

async fn receive_hello(incoming: &mut Streaming<PrimaryMessage>) -> Result<proto::Hello, Error> {
    as_hello(incoming.message().await?.ok_or(Error::Closed)?)
}

/// The first message of the primary, which must be its hello.
pub(crate) fn as_hello(message: PrimaryMessage) -> Result<proto::Hello, Error> {
    use primary_message::Message;
    match message.message.ok_or(Violation::Empty)? {
        Message::Hello(hello) => Ok(hello),
        Message::Refusal(refusal) => Err(refused(refusal)),
        Message::Chunk(_) => Err(Violation::Unexpected("a chunk before the hello").into()),
        Message::Abort(_) => Err(Violation::Unexpected("an abort before the hello").into()),
        Message::Drop(_) => Err(Violation::Unexpected("a drop before the hello").into()),
        Message::Ready(_) => Err(Violation::Unexpected("ready before the hello").into()),
        Message::Heartbeat(_) => Err(Violation::Unexpected("a heartbeat before the hello").into()),
        Message::Pull(_) => Err(Violation::Unexpected("a pull before the hello").into()),
    }
}

fn refused(refusal: proto::Refusal) -> Error {
    Error::Refused {
        peer: "the primary",
        refusal: refusal.into(),
    }
}

/// Tells the primary why we do not go on, and gives it the time to hear that.
async fn say_farewell(
    error: &Error,
    outgoing: mpsc::UnboundedSender<ReplicaMessage>,
    mut incoming: Streaming<PrimaryMessage>,
) {
    let Error::Refusing(refusal) = error else {
        return;
    };
    let message = replica_message::Message::Refusal(refusal.clone().into());
    let _ = outgoing.send(ReplicaMessage {
        message: Some(message),
    });
    drop(outgoing);
    let until_closed = async { while let Ok(Some(_)) = incoming.message().await {} };
    let _ = timeout(FAREWELL, until_closed).await;
}
