import Foundation
import Logging
import Testing

@testable import ckptd

@Suite("The daemon's socket")
struct SocketTests {
  private let log = LogBook()

  @Test("is for its owner and the group alone")
  func mode() throws {
    let folder = try TemporaryFolder()
    let socket = try ListeningSocket.bound(to: folder.path + "/s", logger: log.logger)
    defer { close(socket.descriptor) }
    var status = stat()
    #expect(lstat(folder.path + "/s", &status) == 0)
    let hasGroup = Peer.group(named: "ckpt") != nil
    #expect(status.st_mode & 0o777 == (hasGroup ? 0o660 : 0o600))
    #expect(log.all.contains { $0.contains("no group 'ckpt'") } == !hasGroup)
    socket.remove()
    #expect(access(folder.path + "/s", F_OK) != 0)
  }

  @Test("of a dead daemon is replaced, and it is said; one that answers is left alone")
  func stale() throws {
    let folder = try TemporaryFolder()
    let path = folder.path + "/s"
    let first = try ListeningSocket.bound(to: path, logger: log.logger)
    #expect(throws: SocketError.taken(path)) { try ListeningSocket.bound(to: path, logger: log.logger) }
    close(first.descriptor)
    let second = try ListeningSocket.bound(to: path, logger: log.logger)
    close(second.descriptor)
    #expect(log.all.filter { $0.contains("left by a ckptd that is dead") }.count == 1)
  }

  @Test("does not replace a file that is no socket, and has a path that fits")
  func others() throws {
    let folder = try TemporaryFolder()
    try "mine".write(toFile: folder.path + "/s", atomically: false, encoding: .utf8)
    #expect(throws: SocketError.notASocket(folder.path + "/s")) {
      try ListeningSocket.bound(to: folder.path + "/s", logger: log.logger)
    }
    #expect(try String(contentsOfFile: folder.path + "/s", encoding: .utf8) == "mine")
    let long = folder.path + "/" + String(repeating: "s", count: 108)
    #expect(throws: SocketError.badPath(long)) { try ListeningSocket.bound(to: long, logger: log.logger) }
    #expect(throws: SocketError.badActivation("2 sockets")) { try ListeningSocket.passed(2) }
  }

  @Test("knows who is at its other end")
  func peer() throws {
    var ends: [Int32] = [0, 0]
    #expect(socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &ends) == 0)
    defer { for end in ends { close(end) } }
    let peer = try #require(Peer(of: ends[0]))
    #expect(peer.uid == geteuid() && peer.groups.contains(getegid()))
    #expect(Peer(of: -1) == nil)
  }

  @Test("Log lines have syslog's priorities")
  func priorities() {
    #expect(JournalLog.priority(of: .info) == 6 && JournalLog.priority(of: .warning) == 4)
    #expect(JournalLog.priority(of: .error) == 3 && JournalLog.priority(of: .notice) == 5)
  }
}
