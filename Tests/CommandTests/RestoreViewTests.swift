import Checkpoint
import ControlAPI
import EpochStore
import Testing

@testable import ckpt

@Suite("A restore in words")
struct RestoreViewTests {
  private func plan(_ fates: RestorePlan.Disk.Fate...) -> RestorePlan {
    RestorePlan(
      guest: "web", epoch: 3, time: EpochTime(milliseconds: 0), domain: 5,
      disks: zip(["xvda", "xvdb"], fates).map { .init(vdev: $0, path: "/dev/x", pool: "", sizeBytes: 4096, fate: $1) })
  }
  private let begin = "The running guest 'web' (domain 5) is destroyed; "
  private let end = " to epoch 3 of 1970-01-01T00:00:00.000Z."

  @Test("The question says of disks what becomes of them")
  func question() {
    #expect(plan(.goesBack, .stays).question == begin + "its disks go back" + end + " What it is now is lost.")
    #expect(plan(.stays).question == begin + "it goes back" + end + " What it is now is lost.")
    #expect(
      plan(.leftOut, .leftOut).question == begin + "it goes back" + end
        + " NOT part of the epoch, and to be as then: xvda, xvdb. What it is now is lost.")
    #expect(plan(.goesBack, .leftOut).question.contains("its disks go back\(end) NOT part of the epoch"))
  }

  @Test("So does a dry run")
  func rows() {
    let row = ["disk xvda", "/dev/x (4.0K) is NOT part of the epoch; it must be as it was at 1970-01-01T00:00:00.000Z"]
    #expect(plan(.leftOut).rows.contains(row))
    #expect(RestorePlan.Disk.Fate.leftOut.rawValue == "left-out")
  }

  @Test("An epoch is said to be verified only where it was: in place")
  func verified() {
    var plan = plan(.goesBack)
    #expect(plan.rows[0] == ["epoch", "3 of 'web', 1970-01-01T00:00:00.000Z, 0B of memory, verified"])
    plan.clone = "test"
    #expect(plan.rows[0] == ["epoch", "3 of 'web', 1970-01-01T00:00:00.000Z, 0B of memory"])
  }

  @Test("Disks that did not go back are not said to have")
  func disksOnly() {
    func text(_ plan: RestorePlan) -> String {
      RestoreAnswer(guest: "web", uuid: "u", epoch: 3, domain: nil, steps: [], plan: plan).text
    }
    #expect(text(plan(.goesBack)) == "epoch 3 has its disks back, nothing was started")
    #expect(text(plan(.leftOut)) == "epoch 3 has no disk that could go back, nothing was started")
  }
}
