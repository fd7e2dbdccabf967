//! The conversation with the kernel: begun, or gone on with where another process left it.
//!
//! The library expects the first request of a connection, INIT. So it gets a socket with that request in it; then the
//! device takes the socket's place. At a first start the request and its answer are passed on; a process that goes on
//! gets the request that was kept, and nobody hears its answer.

use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};

use fuser::{Config, Session, SessionACL};
use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use nix::unistd::{read, write};

use crate::filesystem::Adapter;
use crate::session_table::SessionTable;

/// What the kernel wants a reader of the device to have room for, at least.
const SMALLEST_BUFFER: usize = 8192;

/// Of what the kernel can do, in the second word of flags in INIT: send again what was read and not answered.
const HAS_RESEND: u32 = 1 << 7;
const FLAGS2: usize = 40 + 16;

/// `struct fuse_out_header`: length 16, FUSE_NOTIFY_RESEND, no request.
const RESEND: [u8; 16] = [16, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];

/// Begins the conversation on a device that was mounted, or goes on with it.
pub(crate) fn start(
    adapter: Adapter,
    device: &OwnedFd,
    table: &SessionTable,
    resumed: bool,
    config: Config,
) -> io::Result<Session<Adapter>> {
    let (ours, fake) = socketpair(
        AddressFamily::Unix,
        SockType::SeqPacket,
        None,
        SockFlag::SOCK_CLOEXEC,
    )?;
    if !resumed {
        let mut request = [0; SMALLEST_BUFFER];
        let length = read(device, &mut request)?;
        table.set_init(&request[..length]);
    }
    write(&ours, &table.init())?;
    // Who may use the mount is checked by the kernel.
    let session = Session::from_fd(adapter, fake, SessionACL::All, config)?;
    if !resumed {
        let mut answer = [0; SMALLEST_BUFFER];
        let length = read(&ours, &mut answer)?;
        write(device, &answer[..length])?;
    }
    // SAFETY: both descriptors are open; the second one, the socket's, is the session's and stays so, as another file.
    let replaced = unsafe {
        libc::dup3(
            device.as_raw_fd(),
            session.as_fd().as_raw_fd(),
            libc::O_CLOEXEC,
        )
    };
    if replaced < 0 {
        return Err(io::Error::last_os_error());
    }
    if resumed {
        write(device, &RESEND)?;
    }
    Ok(session)
}

/// Whether another process can go on with the connection.
pub(crate) fn can_be_resumed(table: &SessionTable) -> bool {
    let init = table.init();
    let flags = init.get(FLAGS2..FLAGS2 + 4);
    let flags = flags.and_then(|bytes| Some(u32::from_le_bytes(bytes.try_into().ok()?)));
    flags.is_some_and(|flags| flags & HAS_RESEND != 0)
}
