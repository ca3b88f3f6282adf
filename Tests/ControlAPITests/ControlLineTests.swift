import Checkpoint
import EpochStore
import Foundation
import Testing

@testable import ControlAPI

@Suite("The API's JSON")
struct ControlLineTests {
  private func line<Answer>(_ line: ControlLine<Answer>) throws -> String {
    String(decoding: try ControlJSON.encode(line), as: UTF8.self)
  }

  @Test("Each line is what the article says")
  func lines() throws {
    typealias Line = ControlLine<EpochMarks>
    #expect(try line(Line.event(.started(operation: "7"))) == #"{"event":"started","operation":"7"}"#)
    #expect(try line(Line.event(.phase("precopy"))) == #"{"event":"phase","phase":"precopy"}"#)
    #expect(try line(Line.event(.step("destroy"))) == #"{"event":"step","step":"destroy"}"#)
    #expect(
      try line(Line.event(.reading(guest: "web", epoch: 3, done: 1, total: 2)))
        == #"{"done":1,"epoch":3,"event":"reading","guest":"web","total":2}"#)
    let question = RestorePlan(
      guest: "web", epoch: 3, time: EpochTime(milliseconds: 0), domain: 5, memoryBytes: 4096,
      disks: [.init(vdev: "xvda", path: "/dev/x", pool: "p", sizeBytes: 1, fate: .goesBack)], takesSafetyEpoch: true)
    #expect(
      try line(Line.event(.confirm(question))) == #"{"event":"confirm","question":{"disks":["#
        + #"{"fate":"goes-back","path":"/dev/x","pool":"p","size_bytes":1,"vdev":"xvda"}],"domain":5,"epoch":3,"guest":"web","#
        + #""memory_bytes":4096,"safety_epoch":true,"start":"running","time":"1970-01-01T00:00:00.000Z","warnings":[]}}"#
    )
    #expect(
      try line(Line.result(EpochMarks(pinned: true, tags: ["a/b"].filter { _ in false })))
        == #"{"event":"result","result":{"pinned":true,"tags":[]}}"#)
    let failure = ControlFailure(message: "no /store", status: .notFound)
    #expect(try line(Line.failure(failure)) == #"{"error":{"message":"no /store","status":10},"event":"error"}"#)
  }

  @Test("Each event comes back as it went")
  func roundTrip() throws {
    let marks = try EpochMarks()
    var round = TakeStatistics.Round(name: "1")
    (round.pages, round.ms) = (5, 1.5)
    let sound = VerifiedAnswer(guest: "web", uuid: "u", epoch: 2, verdict: nil, error: "locked")
    let report = try JSONDecoder().decode(
      PruneReport.self,
      from: Data(
        """
        {"guest":"web","uuid":"u","epochs":[{"epoch":1,"keep":false,"reasons":["no rule"]}],"dry_run":false,"removed":[1],
        "freed_bytes":4096,"held_bytes":0,"pools":[{"pool":"main","snapshots":1,"in_use":0,"freed_bytes":5}],"notes":["n"]}
        """.utf8))
    let events: [ControlEvent] = [
      .started(operation: "1"), .phase("probe"), .round(round), .note("a hook failed"), .step("verify"),
      .verified(sound), .pruned(report),
      .confirm(RestorePlan(guest: "web", epoch: 1, time: .now, domain: nil)),
      .reading(guest: "web", epoch: 1, done: 0, total: 9),
    ]
    let lines = events.map { ControlLine<EpochMarks>.event($0) } + [.result(marks), .failure(.init(DiskFull()))]
    for sent in lines {
      let bytes = try ControlJSON.encode(sent)
      let received = try ControlJSON.decode(ControlLine<EpochMarks>.self, from: bytes)
      #expect(try ControlJSON.encode(received) == bytes)
    }
  }

  private struct DiskFull: Error {}

  @Test("An event of a newer daemon is passed over")
  func unknownEvent() throws {
    let line = try ControlJSON.decode(ControlLine<EpochMarks>.self, from: Array(#"{"event":"heat","degrees":3}"#.utf8))
    guard case .unknown = line else {
      Issue.record("\(line)")
      return
    }
  }

  @Test(
    "A bad value is named",
    arguments: [
      ("", "it is no JSON object"), ("[]", "it is no JSON object"), ("{}", "'guest' is missing"),
      (#"{"guest": 7}"#, "'guest' has a wrong value"),
      (#"{"guest": "web", "expects": {"store": 1}}"#, "'expects.store' has a wrong value"),
    ])
  func badJSON(text: String, words: String) {
    #expect {
      try ControlJSON.decode(AskedRequest<TakeRequest>.self, from: Array(text.utf8))
    } throws: { "\($0)".hasSuffix(words) && ($0 as? ControlFailure)?.exitStatus == .badConfiguration }
  }

  @Test("A request and how it is to be served are one object")
  func envelope() throws {
    let asked = AskedRequest(
      TakeRequest(guest: "web", limitRate: 7), expects: Expectation(store: "/s"), cancelOnDisconnect: true)
    let bytes = try ControlJSON.encode(asked)
    #expect(
      String(decoding: bytes, as: UTF8.self)
        == #"{"cancel_on_disconnect":true,"expects":{"store":"/s"},"guest":"web","limit_rate":7}"#)
    let back = try ControlJSON.decode(AskedRequest<TakeRequest>.self, from: bytes)
    #expect(back.request.guest == "web" && back.request.limitRate == 7)
    #expect(back.expects == asked.expects && back.cancelOnDisconnect == true)
    let plain = try ControlJSON.decode(AskedRequest<TakeRequest>.self, from: Array(#"{"guest":"web"}"#.utf8))
    #expect(plain.expects == nil && plain.cancelOnDisconnect == nil)
  }

  @Test("All epochs are asked for without naming any, and what was agreed to goes along")
  func removeAll() throws {
    let plain = try ControlJSON.decode(RemoveRequest.self, from: Array(#"{"guest":"web","all":true}"#.utf8))
    #expect(plain.all == true && plain.epochs == [] && plain.agreed == nil && plain.force == nil)
    let asked = RemoveRequest(guest: "web", force: true, all: true, agreed: [1, 2], dryRun: true)
    let back = try ControlJSON.decode(RemoveRequest.self, from: ControlJSON.encode(asked))
    #expect(back.all == true && back.agreed == [1, 2] && back.force == true && back.dryRun == true)
    let named = RemoveRequest(guest: "web", epochs: [3, .latest])
    #expect(try ControlJSON.decode(RemoveRequest.self, from: ControlJSON.encode(named)).epochs == [3, .latest])
  }

  @Test("Values that make no sense are refused before anything is begun")
  func faults() {
    #expect(TakeRequest(guest: "web").anyFault == nil)
    #expect(TakeRequest(guest: "").anyFault != nil)
    #expect(TakeRequest(guest: String(repeating: "x", count: 257)).anyFault != nil)
    #expect(TakeRequest(guest: "web", limitRate: 0).anyFault != nil)
    #expect(TakeRequest(guest: "web", timeoutSeconds: -1).anyFault != nil)
    #expect(TakeRequest(guest: "web", timeoutSeconds: .nan).anyFault != nil)
    #expect(VerifyRequest(guest: nil, epoch: 1).anyFault != nil)
    #expect(VerifyRequest(guest: "web", epoch: 1, full: true, subset: 0.5).anyFault != nil)
    #expect(VerifyRequest(guest: "web", epoch: 1, subset: 1).anyFault != nil)
    var restore = RestoreRequest(guest: "web", epoch: .latest)
    #expect(restore.anyFault == nil)
    (restore.disksOnly, restore.paused) = (true, true)
    #expect(restore.anyFault != nil)
    (restore.clone, restore.paused) = ("copy", nil)
    #expect(restore.anyFault != nil)
    #expect(RemoveRequest(guest: "web", epochs: []).anyFault != nil)
    #expect(RemoveRequest(guest: "web", epochs: [1], all: true).anyFault != nil)
    #expect(RemoveRequest(guest: "web", epochs: [1], agreed: [1]).anyFault != nil)
    #expect(RemoveRequest(guest: "web", all: true, agreed: []).anyFault == nil)
    var mark = MarkRequest(guest: "web", epoch: 1)
    mark.note = "fine"
    #expect(mark.anyFault == nil)
    mark.tag = ["7"]
    #expect(mark.anyFault != nil)
  }

  @Test(
    "A policy that cannot be is refused with the reason",
    arguments: [
      (#"{"last": -1}"#, "'keep.last': -1 epochs cannot be kept"),
      (#"{"within": "soon"}"#, "'keep.within': 'soon' is no length of time; write it like 2d12h, 100000y at most"),
      (
        #"{"within": "\#(String(repeating: "100000y", count: 3000))"}"#,
        "is no length of time; write it like 2d12h, 100000y at most"
      ),
      (#"{"daily": "many"}"#, "'keep.daily' has a wrong value"),
    ])
  func policies(keep: String, words: String) throws {
    let body = Array(#"{"guest": "web", "keep": \#(keep)}"#.utf8)
    let failure = #expect(throws: ControlFailure.self) { try ControlJSON.decode(PruneRequest.self, from: body) }
    #expect(failure?.message.hasSuffix(words) == true && failure?.exitStatus == .badConfiguration)
  }

  @Test("What fails keeps its message and its status")
  func failure() {
    let locked = StoreError.locked(path: "/x/lock", pid: 5)
    #expect(ControlFailure(locked).message == locked.description && ControlFailure(locked).exitStatus == .locked)
    #expect(ControlFailure(CheckpointError.interrupted).exitStatus == .interrupted)
    #expect(ControlFailure(ControlFailure(message: "m", status: .partlyDone)).status == 3)
    #expect(ControlFailure(DiskFull()).exitStatus == .failed)
  }
}
