public import EpochStore

extension Engine {
  /// Changes what is said of an epoch.
  ///
  /// - Returns: the number of the epoch, and what is said of it now.
  @discardableResult
  public func mark(
    _ guest: String, epoch: EpochReference, _ change: (EpochMarks) throws -> EpochMarks
  ) throws -> (epoch: Int, marks: EpochMarks) {
    let folder = try folder(of: guest)
    let lock = try folder.lock(.exclusive)
    defer { _ = lock }
    let number = try resolve(epoch, in: folder, of: guest)
    let marks = try change(known(number, in: folder))
    try folder.setMarks(marks, of: number)
    return (number, marks)
  }

  /// Damaged marks are replaced: that is how to repair them. The epoch counted as pinned, and stays so until somebody unpins it.
  private func known(_ epoch: Int, in folder: GuestFolder) throws -> EpochMarks {
    do { return try folder.marks(epoch) } catch StoreError.damaged {
      return try EpochMarks(pinned: true, tags: [], note: nil)
    }
  }

  /// Gives a guest another name in the store. By it commands find its epochs, and a restore starts it under it; its disks, and the
  /// domain that runs, keep their names. Epochs that are taken from then on bear the domain's name again.
  ///
  /// - Returns: the name that it had, and its uuid.
  /// - Throws: ``CheckpointError/badName(_:_:)``, also when another guest of the store has the name.
  public func rename(_ guest: String, to name: String) throws -> (old: String, uuid: String) {
    try GuestName.check(name)
    let folder = try folder(of: guest)
    let lock = try folder.lock(.exclusive)
    defer { _ = lock }
    if let other = try existingStore().guests().first(where: { $0.name == name && $0.uuid != folder.uuid }) {
      throw CheckpointError.badName(name, "guest \(other.uuid) of this store is called so")
    }
    let old = try folder.overview().name
    try folder.rename(to: name)
    return (old, folder.uuid)
  }
}

/// What guests may be called: a name must not be taken for a domain's number or a uuid, and goes into messages, into xl's
/// configuration and, changed, into device names.
public enum GuestName {
  /// - Throws: ``CheckpointError/badName(_:_:)``.
  public static func check(_ name: String) throws {
    func refuse(_ why: String) -> CheckpointError { .badName(name, why) }
    let bytes = Array(name.utf8)
    guard 1...64 ~= bytes.count, bytes.allSatisfy({ isPlain($0) || "._+-".utf8.contains($0) }), isPlain(bytes[0]) else {
      throw refuse("use 1 to 64 letters, digits, '.', '_', '+' or '-', the first a letter or a digit")
    }
    guard UInt64(name) == nil else { throw refuse("a number is a domain's id") }
    guard name.split(separator: "-", omittingEmptySubsequences: false).map(\.utf8.count) != [8, 4, 4, 4, 12] else {
      throw refuse("it looks like a uuid")
    }
    guard name != "Domain-0" else { throw refuse("it is the host's") }
  }

  private static func isPlain(_ byte: UInt8) -> Bool {
    switch byte {
    case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"),
      UInt8(ascii: "0")...UInt8(ascii: "9"):
      true
    default: false
    }
  }
}
