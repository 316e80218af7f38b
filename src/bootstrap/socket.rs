//! The few things about sockets that std lacks: waiting for many, connecting without blocking, asking who is at the other end.
//!
//! All sockets of this module are close-on-exec and non-blocking, and writing to a closed one is an error value, never SIGPIPE
//! (a program that embeds this library may not ignore that signal).

use std::io::{self, IoSlice, Read};
use std::mem;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr as UnixAddr, UnixListener, UnixStream};
use std::time::{Duration, Instant};

/// Connections that the kernel may hold for a listener that is busy. The kernel caps it at `net.core.somaxconn`.
const BACKLOG: libc::c_int = 4096;

/// A connected stream socket.
#[derive(Debug)]
pub(super) enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Connects to a TCP address within `timeout`.
    pub fn connect_tcp(address: &SocketAddr, timeout: Duration) -> io::Result<Stream> {
        Stream::from_tcp(TcpStream::connect_timeout(address, timeout)?)
    }

    /// Connects to an abstract Unix socket; fails with `WouldBlock` if its backlog is full.
    pub fn connect_abstract(name: &[u8]) -> io::Result<Stream> {
        // SAFETY: all-zero bytes are a valid `sockaddr_un`.
        let mut address: libc::sockaddr_un = unsafe { mem::zeroed() };
        address.sun_family = libc::AF_UNIX as libc::sa_family_t;
        assert!(name.len() < address.sun_path.len(), "an abstract name is short");
        for (slot, byte) in address.sun_path[1..].iter_mut().zip(name) {
            *slot = *byte as libc::c_char;
        }
        let length = mem::offset_of!(libc::sockaddr_un, sun_path) + 1 + name.len();
        // SAFETY: takes no pointers; the descriptor returned is new and owned by nobody else.
        let socket = unsafe {
            let fd =
                check(libc::socket(libc::AF_UNIX, libc::SOCK_STREAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK, 0))?;
            OwnedFd::from_raw_fd(fd)
        };
        // SAFETY: `address` lives across the call and `length` bytes of it are initialised.
        check(unsafe { libc::connect(socket.as_raw_fd(), (&raw const address).cast(), length as libc::socklen_t) })?;
        Ok(Stream::Unix(UnixStream::from(socket)))
    }

    fn from_tcp(stream: TcpStream) -> io::Result<Stream> {
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        Ok(Stream::Tcp(stream))
    }

    /// This end's IP address and port, of a TCP connection.
    pub fn local_address(&self) -> Option<SocketAddr> {
        match self {
            Stream::Tcp(stream) => stream.local_addr().ok(),
            Stream::Unix(_) => None,
        }
    }

    /// Whether the process at the other end has this process's user, as the kernel tells. True of any TCP connection: there
    /// only the challenge can tell.
    pub fn is_of_own_user(&self) -> io::Result<bool> {
        match self {
            Stream::Tcp(_) => Ok(true),
            Stream::Unix(stream) => Ok(peer_uid(stream)? == own_uid()),
        }
    }

    /// Writes what fits; `WouldBlock` if nothing does.
    pub fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        send(self.as_fd(), bytes)
    }

    /// As [`Stream::send`], of several pieces, one behind the other.
    pub fn send_all(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        // SAFETY: zero is a value of all its fields: no name, no control data.
        let mut message: libc::msghdr = unsafe { mem::zeroed() };
        // An `IoSlice` has the layout of an `iovec`; the kernel only reads it.
        message.msg_iov = pieces.as_ptr().cast::<libc::iovec>().cast_mut();
        message.msg_iovlen = pieces.len() as _;
        // SAFETY: the pieces live across the call, and with them what they point to.
        let sent = unsafe { libc::sendmsg(self.as_fd().as_raw_fd(), &message, libc::MSG_NOSIGNAL) };
        usize::try_from(sent).map_err(|_| io::Error::last_os_error())
    }

    /// Lets the other end read to the end of what was sent, and then see that no more comes.
    pub fn finish_sending(&self) -> io::Result<()> {
        match self {
            Stream::Tcp(stream) => stream.shutdown(std::net::Shutdown::Write),
            Stream::Unix(stream) => stream.shutdown(std::net::Shutdown::Write),
        }
    }

    /// Asks the kernel to notice within about 90 s that the other host is gone without a word. Where both ends are on one, its
    /// kernel closes what a process leaves open, and a probe that a busy machine does not answer in time would prove nothing. A
    /// stopped process is not gone: its kernel answers for it. `TCP_USER_TIMEOUT` is left alone, since that would also end
    /// connections to a stopped process whose window is full.
    pub fn keep_alive(&self) -> io::Result<()> {
        let Stream::Tcp(stream) = self else { return Ok(()) };
        if stream.peer_addr()?.ip() == stream.local_addr()?.ip() {
            return Ok(());
        }
        let fd = stream.as_fd();
        set_option(fd, libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)?;
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPIDLE, 30)?;
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPINTVL, 10)?;
        set_option(fd, libc::IPPROTO_TCP, libc::TCP_KEEPCNT, 6)
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Stream::Tcp(stream) => stream.as_fd(),
            Stream::Unix(stream) => stream.as_fd(),
        }
    }
}

/// A listening socket.
#[derive(Debug)]
pub(super) enum Listener {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Listens on exactly this address; port 0 takes a free one.
    pub fn bind_tcp(address: SocketAddr) -> io::Result<Listener> {
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        set_backlog(listener.as_fd())?;
        Ok(Listener::Tcp(listener))
    }

    /// Listens on an abstract name, which no file stands for and which ends with the socket.
    pub fn bind_abstract(name: &[u8]) -> io::Result<Listener> {
        let listener = UnixListener::bind_addr(&UnixAddr::from_abstract_name(name)?)?;
        listener.set_nonblocking(true)?;
        set_backlog(listener.as_fd())?;
        Ok(Listener::Unix(listener))
    }

    pub fn accept(&self) -> io::Result<Stream> {
        match self {
            Listener::Tcp(listener) => Stream::from_tcp(listener.accept()?.0),
            Listener::Unix(listener) => {
                let stream = listener.accept()?.0;
                stream.set_nonblocking(true)?;
                Ok(Stream::Unix(stream))
            }
        }
    }

    /// The IP address and port, of a TCP listener.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            Listener::Unix(_) => None,
        }
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Listener::Tcp(listener) => listener.as_fd(),
            Listener::Unix(listener) => listener.as_fd(),
        }
    }
}

/// What to wait for on a socket, and afterwards what came.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Watch(libc::pollfd);

impl Watch {
    pub fn readable(socket: BorrowedFd<'_>) -> Watch {
        Watch(libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLIN, revents: 0 })
    }

    pub fn writable(socket: BorrowedFd<'_>) -> Watch {
        Watch(libc::pollfd { fd: socket.as_raw_fd(), events: libc::POLLOUT, revents: 0 })
    }

    pub fn also_writable(mut self, wanted: bool) -> Watch {
        if wanted {
            self.0.events |= libc::POLLOUT;
        }
        self
    }

    /// Whether something happened, be it an error: the next call on the socket tells which.
    pub fn is_ready(&self) -> bool {
        self.0.revents != 0
    }
}

/// Sleeps until one of the sockets is ready or the instant has come; `None` waits for the sockets alone.
pub(super) fn wait(watches: &mut [Watch], until: Option<Instant>) -> io::Result<()> {
    let timeout_ms = match until {
        None => -1,
        Some(until) => {
            let left = until.saturating_duration_since(Instant::now());
            // Rounded up, or the last millisecond would be spent spinning.
            left.as_micros().div_ceil(1000).min(i32::MAX as u128) as libc::c_int
        }
    };
    // SAFETY: `Watch` is a transparent `pollfd`, and the slice lives across the call.
    let ready = unsafe { libc::poll(watches.as_mut_ptr().cast(), watches.len() as libc::nfds_t, timeout_ms) };
    match check(ready) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        other => other.map(|_| ()),
    }
}

/// Writes without SIGPIPE.
pub(super) fn send(socket: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<usize> {
    // SAFETY: the slice is valid for reading across the call.
    let sent = unsafe { libc::send(socket.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), libc::MSG_NOSIGNAL) };
    if sent < 0 { Err(io::Error::last_os_error()) } else { Ok(sent as usize) }
}

/// The effective user of this process.
pub(super) fn own_uid() -> u32 {
    // SAFETY: takes nothing and can't fail.
    unsafe { libc::geteuid() }
}

/// The effective user that the process at the other end had when it connected or listened.
fn peer_uid(stream: &UnixStream) -> io::Result<u32> {
    let mut credentials = libc::ucred { pid: 0, uid: 0, gid: 0 };
    let mut length = size_of::<libc::ucred>() as libc::socklen_t;
    // SAFETY: both pointers are to live locals, and `length` is the size of the first.
    check(unsafe {
        libc::getsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PEERCRED,
            (&raw mut credentials).cast(),
            &raw mut length,
        )
    })?;
    Ok(credentials.uid)
}

fn set_backlog(listener: BorrowedFd<'_>) -> io::Result<()> {
    // SAFETY: takes no pointers; a second `listen` only changes the backlog.
    check(unsafe { libc::listen(listener.as_raw_fd(), BACKLOG) }).map(|_| ())
}

fn set_option(socket: BorrowedFd<'_>, level: libc::c_int, name: libc::c_int, value: libc::c_int) -> io::Result<()> {
    let length = size_of::<libc::c_int>() as libc::socklen_t;
    // SAFETY: the pointer is to a live local of `length` bytes.
    check(unsafe { libc::setsockopt(socket.as_raw_fd(), level, name, (&raw const value).cast(), length) }).map(|_| ())
}

/// The result of a system call that returns -1 on failure.
pub(super) fn check(result: libc::c_int) -> io::Result<RawFd> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
