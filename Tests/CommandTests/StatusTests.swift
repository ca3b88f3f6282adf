import ControlAPI
import EpochStore
import Testing

@testable import ckpt

@Suite("ckpt status tells who runs the schedules")
struct StatusTests {
  private let daemon = DaemonStatus(
    pid: 20, store: "/s", config: nil, started: EpochTime(milliseconds: 0), isEnding: false, operations: [])

  @Test(
    "when it is not the ckptd that answers",
    arguments: [
      (nil, "ckptd does not answer; schedules do not run"),
      (10, "ckptd does not answer; process 10 runs the schedules"),
    ] as [(Int32?, String)])
  func withoutDaemon(scheduler: Int32?, words: String) {
    #expect(StatusText.service(nil, scheduler: scheduler, now: .now) == ["service  \(words)"])
  }

  @Test("or when it is another one", arguments: [(nil, 1), (20, 1), (10, 2)] as [(Int32?, Int)])
  func withDaemon(scheduler: Int32?, lines: Int) {
    let text = StatusText.service(daemon, scheduler: scheduler, now: EpochTime(milliseconds: 5000))
    #expect(text.count == lines && text[0].hasSuffix("ckptd, process 20, for 5s"))
    #expect(lines == 1 || text[1].hasSuffix("process 10 runs the schedules of this store, ckptd does not"))
  }
}
