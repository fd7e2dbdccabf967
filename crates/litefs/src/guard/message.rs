//! What guard and worker say to each other: one packet of a SEQPACKET socket each, with descriptors.
//!
//! A packet that was sent is in the other's queue, descriptors and all, whatever becomes of the sender. So nothing is
//! acknowledged: the guard reads what a dead worker has said before it acts on the death.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd, RawFd};
use std::path::PathBuf;

use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};

/// The longest packet: a path and a little.
const LONGEST: usize = 8 * 1024;

/// At most so many descriptors come with one.
const MOST_DESCRIPTORS: usize = 3;

/// One packet. Descriptors come beside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Message {
    /// Keep this descriptor, under a name, for the next worker; or: here is what was kept. Without one: forget it.
    Keep(String),
    /// The files of a database, opened through the mount, with which applications are kept from committing: the
    /// database, and the -shm and the -wal if there are.
    Hold { db: String, shm: bool, wal: bool },
    /// Nobody has the database open any more, or the worker holds the locks itself.
    LetGo { db: String },
    /// To a new worker: locks on these are held, for the same open files.
    Locked { db: String, shm: bool },
    /// The mount is there.
    Mounted { connection: u64, dir: PathBuf },
    /// The mount is gone: nothing is left to guard.
    Unmounted,
    /// The node is up.
    Ready,
    /// The worker may commit, and knows what was committed to a database: the locks on it are to be given back.
    Release { db: String },
    /// The same for all of them.
    ReleaseAll,
    /// The deadline in the table is earlier than it was.
    Deadline,
    /// The worker ends for a successor.
    Leaving,
    /// To the worker: end for a successor.
    Leave,
    /// To a new worker: that was all. How many there were before it.
    Go { before: u32 },
}

impl Message {
    fn encode(&self) -> Vec<u8> {
        let text = |tag: u8, text: &str| [&[tag], text.as_bytes()].concat();
        match self {
            Message::Keep(name) => text(b'k', name),
            Message::Hold { db, shm, wal } => {
                [&[b'h', u8::from(*shm), u8::from(*wal)], db.as_bytes()].concat()
            }
            Message::LetGo { db } => text(b'g', db),
            Message::Locked { db, shm } => [&[b'l', u8::from(*shm)], db.as_bytes()].concat(),
            Message::Mounted { connection, dir } => {
                let dir = dir.as_os_str().as_encoded_bytes();
                [&b"m"[..], &connection.to_le_bytes(), dir].concat()
            }
            Message::Unmounted => vec![b'u'],
            Message::Ready => vec![b'r'],
            Message::Release { db } => text(b'f', db),
            Message::ReleaseAll => vec![b'F'],
            Message::Deadline => vec![b'd'],
            Message::Leaving => vec![b'x'],
            Message::Leave => vec![b'X'],
            Message::Go { before } => [&b"G"[..], &before.to_le_bytes()].concat(),
        }
    }

    fn decode(bytes: &[u8]) -> Option<Message> {
        use std::os::unix::ffi::OsStrExt as _;
        let (&tag, rest) = bytes.split_first()?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        let flag = |index: usize| match rest.get(index)? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        };
        let nothing = |message: Message| rest.is_empty().then_some(message);
        match tag {
            b'k' => Some(Message::Keep(text(rest)?)),
            b'h' => Some(Message::Hold {
                shm: flag(0)?,
                wal: flag(1)?,
                db: text(rest.get(2..)?)?,
            }),
            b'g' => Some(Message::LetGo { db: text(rest)? }),
            b'l' => Some(Message::Locked {
                shm: flag(0)?,
                db: text(rest.get(1..)?)?,
            }),
            b'm' => Some(Message::Mounted {
                connection: u64::from_le_bytes(rest.get(..8)?.try_into().ok()?),
                dir: PathBuf::from(std::ffi::OsStr::from_bytes(rest.get(8..)?)),
            }),
            b'u' => nothing(Message::Unmounted),
            b'r' => nothing(Message::Ready),
            b'f' => Some(Message::Release { db: text(rest)? }),
            b'F' => nothing(Message::ReleaseAll),
            b'd' => nothing(Message::Deadline),
            b'x' => nothing(Message::Leaving),
            b'X' => nothing(Message::Leave),
            b'G' => Some(Message::Go {
                before: u32::from_le_bytes(rest.try_into().ok()?),
            }),
            _ => None,
        }
    }
}

/// Sends a message; waits while the other one's queue is full.
pub(crate) fn send(
    socket: BorrowedFd<'_>,
    message: &Message,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    let bytes = message.encode();
    let raw: Vec<RawFd> = descriptors.iter().map(|fd| fd.as_raw_fd()).collect();
    let rights = [ControlMessage::ScmRights(&raw)];
    let control = if raw.is_empty() {
        &rights[..0]
    } else {
        &rights
    };
    loop {
        let sent = sendmsg::<()>(
            socket.as_raw_fd(),
            &[IoSlice::new(&bytes)],
            control,
            MsgFlags::MSG_NOSIGNAL,
            None,
        );
        match sent {
            Ok(_) => return Ok(()),
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The next message. `None` at the end of the conversation. `flags` may say not to wait.
pub(crate) fn receive(
    socket: BorrowedFd<'_>,
    flags: MsgFlags,
) -> io::Result<Option<(Message, Vec<OwnedFd>)>> {
    let mut bytes = [0; LONGEST];
    let mut space = nix::cmsg_space!([RawFd; MOST_DESCRIPTORS]);
    let mut descriptors = Vec::new();
    let length = loop {
        let mut into = [IoSliceMut::new(&mut bytes)];
        let flags = flags | MsgFlags::MSG_CMSG_CLOEXEC;
        match recvmsg::<()>(socket.as_raw_fd(), &mut into, Some(&mut space), flags) {
            Ok(received) => {
                // A control message that was cut off (no descriptors left) has none.
                for control in received.cmsgs().into_iter().flatten() {
                    if let ControlMessageOwned::ScmRights(raw) = control {
                        // SAFETY: the kernel has just made these descriptors for us, and nobody else knows them.
                        descriptors.extend(
                            raw.into_iter()
                                .map(|fd| unsafe { OwnedFd::from_raw_fd(fd) }),
                        );
                    }
                }
                break received.bytes;
            }
            Err(nix::errno::Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    };
    if length == 0 {
        return Ok(None);
    }
    match Message::decode(&bytes[..length]) {
        Some(message) => Ok(Some((message, descriptors))),
        None => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "guard and worker do not understand each other",
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd as _;

    use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};

    use super::*;

    #[test]
    fn messages_survive_the_socket_with_their_descriptors() {
        let (a, b) = socketpair(
            AddressFamily::Unix,
            SockType::SeqPacket,
            None,
            SockFlag::SOCK_CLOEXEC,
        )
        .unwrap();
        let db = "a db".to_owned();
        let messages = [
            Message::Keep("device".into()),
            Message::Hold {
                db: db.clone(),
                shm: true,
                wal: false,
            },
            Message::LetGo { db: db.clone() },
            Message::Locked { db, shm: false },
            Message::Mounted {
                connection: 1 << 40,
                dir: PathBuf::from("/mnt/with a space"),
            },
            Message::Unmounted,
            Message::Ready,
            Message::Release { db: "app".into() },
            Message::ReleaseAll,
            Message::Deadline,
            Message::Leaving,
            Message::Leave,
            Message::Go { before: 7 },
        ];
        for (index, message) in messages.iter().enumerate() {
            let files = [a.as_fd(), b.as_fd(), a.as_fd()];
            send(a.as_fd(), message, &files[..index % 4]).unwrap();
        }
        for (index, message) in messages.iter().enumerate() {
            let (received, files) = receive(b.as_fd(), MsgFlags::empty()).unwrap().unwrap();
            assert_eq!((&received, files.len()), (message, index % 4));
        }
        drop(a);
        assert!(
            receive(b.as_fd(), MsgFlags::MSG_DONTWAIT)
                .unwrap()
                .is_none()
        );
    }

    #[test]
    fn garbage_is_no_message() {
        for bytes in [
            &b""[..],
            b"?",
            b"h",
            b"h\x02\x00x",
            b"m123",
            b"G123",
            b"rr",
            b"k\xff",
        ] {
            assert_eq!(Message::decode(bytes), None, "{bytes:?}");
        }
    }
}
