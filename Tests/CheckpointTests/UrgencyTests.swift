import Glibc
import Testing

@testable import Checkpoint

/// Whether this process may set priorities: as root, or with CAP_SYS_NICE.
private func isAllowed() -> Bool {
  var wanted = sched_param()
  wanted.sched_priority = 1
  guard sched_setscheduler(0, SCHED_FIFO, &wanted) == 0 else { return false }
  wanted.sched_priority = 0
  return sched_setscheduler(0, SCHED_OTHER, &wanted) == 0
}

@Suite(.enabled("needs the right to set priorities") { isAllowed() })
struct UrgencyTests {
  @Test("A thread comes first until it ends, and what is started meanwhile is ordinary")
  func notInherited() {
    func policies() -> (own: Int32, ofThread: Int32) {
      let own = sched_getscheduler(0)
      var thread = pthread_t()
      pthread_create(&thread, nil, { _ in UnsafeMutableRawPointer(bitPattern: Int(sched_getscheduler(0)) + 1) }, nil)
      var answer: UnsafeMutableRawPointer?
      pthread_join(thread, &answer)
      return (own, Int32(Int(bitPattern: answer) - 1))
    }
    let before = policies()
    let urgency = Urgency(.pause)
    let within = policies()
    urgency.end()
    let after = policies()
    #expect(before == (SCHED_OTHER, SCHED_OTHER))
    #expect(within.own & 0xff == SCHED_FIFO && within.ofThread == SCHED_OTHER)
    #expect(after == before)
  }
}
