import Checkpoint
import ControlAPI
import EpochStore
import Scheduling
import Testing

@testable import ckpt

@Suite("ckpt status tells who runs the schedules")
struct StatusTests {
  private let daemon = DaemonStatus(
    pid: 20, store: "/s", config: nil, started: EpochTime(milliseconds: 0), isEnding: false, operations: [])

  @Test(
    "when it is not the ckptd that answers",
    arguments: [
      (nil, "no ckptd answers for this store; schedules do not run"),
      (10, "no ckptd answers for this store; process 10 runs the schedules"),
    ] as [(Int32?, String)])
  func withoutDaemon(scheduler: Int32?, words: String) {
    #expect(StatusText.service(nil, scheduler: scheduler, now: .now) == ["service  \(words)"])
  }

  @Test("and what is wrong with them")
  func faultySchedules() {
    let status = DaemonStatus(
      pid: 20, store: "/s", config: nil, started: EpochTime(milliseconds: 0), isEnding: false, operations: [],
      scheduleProblem: "schedules.json: odd")
    let text = StatusText.service(status, scheduler: 20, now: .now)
    #expect(text.count == 2 && text[1].hasSuffix("schedules: schedules.json: odd"))
  }

  @Test("and whose pruning failed, by the guest's name or its uuid")
  func pruning() throws {
    var status = HostStatus(
      host: "h", store: .init(path: "/s", used: 0, fileSystem: FileSystemSpace(total: 1, free: 1)))
    status.guests = [("web", "1"), ("db", "2"), ("mail", "3")].map { HostStatus.Guest(name: $0.0, uuid: $0.1) }
    var (web, db) = (RunRecord(guest: "web"), RunRecord(guest: "2"))
    (web.pruneProblem, db.pruneProblem) = ("locked", "read-only")
    status.add([web, db])
    #expect(status.guests.map(\.pruneProblem) == ["locked", "read-only", nil])
    let lines = StatusText.guests(status, now: .now).filter { $0.contains("the last pruning by its schedule failed") }
    #expect(lines == ["locked", "read-only"].map { "  the last pruning by its schedule failed: \($0)" })
  }

  @Test("or when it is another one", arguments: [(nil, 1), (20, 1), (10, 2)] as [(Int32?, Int)])
  func withDaemon(scheduler: Int32?, lines: Int) {
    let text = StatusText.service(daemon, scheduler: scheduler, now: EpochTime(milliseconds: 5000))
    #expect(text.count == lines && text[0].hasSuffix("ckptd, process 20, for 5s"))
    #expect(lines == 1 || text[1].hasSuffix("process 10 runs the schedules of this store, ckptd does not"))
  }

  @Test("What of a guest cannot be read is not told as nothing")
  func unreadable() throws {
    var status = HostStatus(
      host: "h", store: .init(path: "s", used: 1, fileSystem: FileSystemSpace(total: 1, free: 1)))
    status.guests = [HostStatus.Guest(name: "web", uuid: "u")]
    func words() -> [String] { StatusText.guests(status, now: .now)[2].split(separator: " ").map(String.init) }
    func keys() throws -> Set<String> {
      try JSON(StatusView(status, service: nil, scheduler: nil)).shape(open: []).filter { $0.hasPrefix("guests.") }
    }
    #expect(words() == ["web", "-", "0", "-", "-", "-", "0B"])
    let unknown = ["epochs", "damaged", "bytes", "failures_in_row"].map { "guests.\($0): number" }
    #expect(try keys().isSuperset(of: unknown))
    status.guests[0].isUnreadable = true
    #expect(words() == ["web", "-", "?", "-", "-", "-", "?"])
    #expect(try keys().isDisjoint(with: unknown))
  }

  @Test("and of a restore that did not end, where it is known that its guest does not run")
  func unfinished() {
    var status = HostStatus(host: "h", store: .init(path: "/s", used: 0, fileSystem: .init(total: 1, free: 1)))
    status.guests = [HostStatus.Guest(name: "web", uuid: "1")]
    status.guests[0].unfinished = UnfinishedRestore(guest: "web", epoch: 2, canBeUndone: false)
    #expect(StatusText.recovery(status) == ["recover  nothing to do"])
    status.xen = "4.17"
    let line = "\(UnfinishedRestore(guest: "web", epoch: 2, canBeUndone: false))"
    func told() -> String {
      StatusText.recovery(status).joined(separator: " ").split(separator: " ").joined(separator: " ")
    }
    func view() -> [String] { StatusView(status, service: nil, scheduler: nil).recover }
    #expect(told() == "recover \(line)" && view() == [line])
    status.recoverable = ["db: a take was killed"]
    #expect(told() == "recover \(line) to be run, for: db: a take was killed")
    status.guests[0].domain = 5
    #expect(view() == status.recoverable)
    // That domain has crashed.
    #expect(StatusText.guests(status, now: .now).joined().contains("running"))
    status.guests[0].isEnded = true
    #expect(view() == [line] + status.recoverable)
    #expect(StatusText.guests(status, now: .now).joined().contains("ended"))
    #expect(StatusView(status, service: nil, scheduler: nil).guests[0].domain == nil)
  }

  @Test("A table has the width that it is given, and loses nothing", arguments: 1...9)
  func tables(columns: Int) {
    let words = (1...30).map { "word\($0)" }.joined(separator: " ")
    let head = (1...columns).map { "C\($0)" }
    let row = head.dropLast().map { _ in String(repeating: "x", count: 30) } + [words]
    let lines = Table.lines([head, row], width: 80)
    #expect(lines.allSatisfy { $0.count <= 80 })
    func ink(_ texts: [String]) -> [Character] { texts.joined().filter { $0 != " " }.sorted() }
    #expect(ink(lines) == ink(head + row))
  }
}
