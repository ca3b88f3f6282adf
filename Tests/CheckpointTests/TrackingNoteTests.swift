import Testing
import Xen

@testable import Checkpoint

@Test(
  "A tracking note comes back as it was written",
  arguments: [
    TrackingNote.armed(
      base: TrackedBase(epoch: 7, fileHash: "0123456789abcdef", folder: "/var/lib/ckpt/a b/1"), pages: 65_552,
      canary: 12),
    .armed(base: TrackedBase(epoch: 1, fileHash: "f", folder: "/x"), pages: 0, canary: nil),
    .owed(token: "9f", owner: .own),
    .owed(token: TrackingNote.noToken, owner: .nobody),
  ])
func trackingNote(note: TrackingNote) { #expect(TrackingNote(note.text) == note) }

@Test(
  "Anything else is no note",
  arguments: [
    "", "armed", "armed 1 2 3", "armed x 0 2 - /x", "armed 7 65552 - /x", "owed", "owed a b", "owed a b 1", "armed -",
  ])
func noTrackingNote(text: String) { #expect(TrackingNote(text) == nil) }

@Test("A debt is abandoned when its process is gone; a log that is armed from epoch to epoch is not")
func abandonedLog() {
  #expect(TrackingNote.owed(token: "9f", owner: .nobody).isAbandoned)
  #expect(!TrackingNote.owed(token: "9f", owner: .own).isAbandoned)
  #expect(
    !TrackingNote.armed(
      base: TrackedBase(epoch: 7, fileHash: "f", folder: "/x"), pages: 1, canary: nil
    ).isAbandoned)
}
