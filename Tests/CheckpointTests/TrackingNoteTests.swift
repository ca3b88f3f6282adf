import Testing
import Xen

@testable import Checkpoint

@Test(
  "A tracking note comes back as it was written",
  arguments: [
    TrackingNote.armed(epoch: 7, pages: 65_552, canary: 12, folder: "/var/lib/ckpt/a b/1"),
    .armed(epoch: 1, pages: 0, canary: nil, folder: "/x"), .owed(token: "9f", owner: .own),
    .owed(token: TrackingNote.noToken, owner: .nobody),
  ])
func trackingNote(note: TrackingNote) { #expect(TrackingNote(note.text) == note) }

@Test(
  "Anything else is no note",
  arguments: ["", "armed", "armed 1 2 3", "armed x 2 - /x", "owed", "owed a b", "owed a b 1", "armed -"])
func noTrackingNote(text: String) { #expect(TrackingNote(text) == nil) }

@Test("A debt is abandoned when its process is gone; a log that is armed from epoch to epoch is not")
func abandonedLog() {
  #expect(TrackingNote.owed(token: "9f", owner: .nobody).isAbandoned)
  #expect(!TrackingNote.owed(token: "9f", owner: .own).isAbandoned)
  #expect(!TrackingNote.armed(epoch: 7, pages: 1, canary: nil, folder: "/x").isAbandoned)
}
