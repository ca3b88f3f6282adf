import ArgumentParser
import Checkpoint
import ControlAPI
import EpochStore
import Glibc

/// What it costs to ask ckptd instead of doing it.
struct DaemonCost: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "daemon", abstract: "Ask a running ckptd for a piece of work, and do the same work in this process.",
    discussion: """
      The work is a quick verification of a store with one small epoch: it needs no Xen, and comes and goes through the \
      same socket, lines and threads as a take. The rest of a take is the engine's and the same for both. ckptd must \
      work on the folder named; Tools/bench/daemon.sh sees to that.
      """)

  @Argument(help: "Folder whose 'socket' is ckptd's, and whose 'store' it works on.") var folder: String
  @Option(help: "Runs of each; the median counts.") var runs = 201

  func validate() throws { guard runs > 0 else { throw ValidationError("runs start at 1") } }

  func run() throws {
    try makeEpoch()
    let service = EngineService(Engine(storePath: "\(folder)/store"))
    let request = VerifyRequest(guest: nil, epoch: nil)
    let body = try ControlJSON.encode(request)
    var (direct, through): ([Double], [Double]) = ([], [])
    // By turns, so that a busy moment of the machine does not fall on one side only.
    for _ in 0..<runs {
      direct.append(try time { _ = try service.verify(request, Call()) })
      through.append(try time { try ask(VerifyRequest.path.rawValue, body) })
    }
    let more = through.median - direct.median
    print("runs=\(runs) direct_ms=\(figure(direct.median)) through_ms=\(figure(through.median))")
    print("daemon costs_ms=\(figure(more)) (bar 5.000)")
  }

  private func makeEpoch() throws {
    let guest = try EpochStore(path: "\(folder)/store").folder(uuid: BenchStore.uuid, create: true)
    let writer = try guest.create(epoch: try guest.nextEpochNumber(), reserving: 0)
    try writer.append(record: 1, [1])
    _ = try writer.publish(BenchStore.manifest(epoch: writer.epoch, memoryBytes: 1 << 28))
  }

  private func time(_ body: () throws -> Void) rethrows -> Double {
    let start = ContinuousClock.now
    try body()
    return (ContinuousClock.now - start).milliseconds
  }

  /// One request over the socket, read to its last line.
  private func ask(_ path: String, _ body: [UInt8]) throws {
    let descriptor = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
    defer { close(descriptor) }
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &address.sun_path) { $0.copyBytes(from: Array("\(folder)/socket".utf8).prefix(107)) }
    let isConnected = withUnsafePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        connect(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
    guard isConnected == 0 else { throw ValidationError("no ckptd answers on \(folder)/socket") }
    let request =
      Array("POST \(path) HTTP/1.1\r\nHost: ckptd\r\nContent-Length: \(body.count)\r\n\r\n".utf8) + body
    guard send(descriptor, request, request.count, 0) == request.count else { throw ValidationError("cannot send") }
    var (answer, buffer) = ([UInt8](), [UInt8](repeating: 0, count: 4096))
    while true {
      let count = recv(descriptor, &buffer, buffer.count, 0)
      guard count > 0 else { break }
      answer += buffer[..<count]
    }
    guard String(decoding: answer, as: UTF8.self).contains(#""event":"result""#) else {
      throw ValidationError("ckptd answers: \(String(decoding: answer, as: UTF8.self))")
    }
  }
}
