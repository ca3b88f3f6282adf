/// What became of a guest's disks, as JSON.
struct MovedDisks<Disk: Encodable>: Encodable {
  let guest: String
  let disks: [Disk]
  let configurationWritten: Bool

  enum CodingKeys: String, CodingKey {
    case guest, disks
    case configurationWritten = "configuration_written"
  }

  /// Tells what was done, then what was not.
  ///
  /// - Parameters:
  ///   - lines: what was done to the disks, for people.
  ///   - file: what was done to the guest's configuration.
  ///   - failure: what kept further disks from being moved.
  /// - Throws: ``PartlyDone`` when something failed after a disk was moved; what failed, when none was.
  func tell(_ lines: [String], _ file: XLFileOptions.Outcome, failure: (any Error)?, json: Bool) throws {
    let failures = [failure, file.failure].compactMap(\.self)
    for note in file.notes { Terminal.error("ckpt: note: \(note)") }
    if !json {
      for line in file.lines + lines { Terminal.say(line) }
    } else if failures.isEmpty || !disks.isEmpty {
      try Terminal.printJSON(self)
    }
    guard let first = failures.first else { return }
    throw disks.isEmpty ? first : PartlyDone(description: failures.map { "\($0)" }.joined(separator: "; "))
  }
}
