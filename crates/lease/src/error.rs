//! What can be wrong with a lease.

/// An error of a lease: in its configuration, or in what it is asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// A text that is not of the form `http://host:port`.
    #[error("advertise-url {url:?} is not of the form http://host:port: {reason}")]
    AdvertiseUrl {
        /// The text.
        url: String,
        /// The part that is wrong.
        reason: &'static str,
    },
    /// A setting of a lease store that cannot be used; the text names it.
    #[error("{0}")]
    Config(String),
    /// A replica with a static lease that was not told where its primary is.
    #[error("a static lease on a replica needs the advertise-url of the primary")]
    NoPrimary,
    /// The session is not known to the lease store any more: what it held is lost.
    #[error("the session in the lease store is gone")]
    SessionGone,
    /// The lease store did not answer in time, or cannot be reached: the change may have been made or not.
    #[error("{0}")]
    Unreachable(String),
    /// The lease store answered with something that is not understood, or refuses to serve us.
    #[error("{0}")]
    Answer(String),
    /// This kind of lease cannot do that.
    #[error("{0}")]
    Unsupported(&'static str),
    /// There is no greater epoch.
    #[error("epoch {0} is the last one there is")]
    LastEpoch(u64),
}
