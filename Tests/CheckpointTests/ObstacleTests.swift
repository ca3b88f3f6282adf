import Testing
import Xen

@testable import Checkpoint

@Suite("A domain's state")
struct ObstacleTests {
  @Test(
    "Only a running one can be taken; the others are named",
    arguments: [
      (Domain.State.running, String?.none), (.paused, "paused"), (.suspended, "suspended"),
      (.shutdown(reason: 0), "shut down"), (.crashed, "crashed"), (.dying, "being destroyed"),
    ])
  func obstacle(state: Domain.State, word: String?) {
    let text = XenGuest.obstacle(state)
    #expect((text == nil) == (word == nil))
    #expect(word.map { text?.contains($0) == true } ?? true)
  }
}
