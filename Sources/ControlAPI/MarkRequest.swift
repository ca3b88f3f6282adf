import Checkpoint
public import EpochStore

/// Pin an epoch, give it tags, or a note.
public struct MarkRequest: ControlRequest {
  public typealias Answer = MarkAnswer
  public static let path = ControlPath.mark

  public var guest: String
  public var epoch: EpochReference
  /// Nil: as it is.
  public var pin: Bool?
  public var tag: [String]?
  public var untag: [String]?
  /// An empty one takes it away.
  public var note: String?

  public init(guest: String, epoch: EpochReference, pin: Bool? = nil) {
    self.guest = guest
    self.epoch = epoch
    self.pin = pin
  }

  public var target: String? { guest }
  public func perform(by service: some ControlService, _ call: Call) throws -> Answer {
    try service.mark(self, call)
  }

  /// The marks of an epoch, changed as it is asked for.
  func change(_ marks: EpochMarks) throws -> EpochMarks {
    let tags = marks.tags.filter { untag?.contains($0) != true }
    var changed = try EpochMarks(pinned: pin ?? marks.pinned, tags: tags, note: marks.note)
    if let note { changed = try changed.noting(note) }
    for tag in tag ?? [] { changed = try changed.adding(tag: tag) }
    return changed
  }

  public var fault: String? {
    do { _ = try change(.unmarked) } catch { return "\(error)" }
    return nil
  }
}

/// What is said of an epoch now.
public struct MarkAnswer: Codable, Hashable, Sendable {
  public let epoch: Int
  public let pinned: Bool
  public let tags: [String]
  public let note: String?

  public init(epoch: Int, _ marks: EpochMarks) {
    (self.epoch, pinned, tags, note) = (epoch, marks.pinned, marks.tags, marks.note)
  }
}

/// Give a guest another name in the store.
public struct RenameRequest: ControlRequest {
  public typealias Answer = RenameAnswer
  public static let path = ControlPath.rename

  public var guest: String
  public var name: String

  public init(guest: String, name: String) { (self.guest, self.name) = (guest, name) }

  public var target: String? { guest }
  public func perform(by service: some ControlService, _ call: Call) throws -> Answer {
    try service.rename(self, call)
  }
}

public struct RenameAnswer: Codable, Hashable, Sendable {
  public let uuid: String
  /// The name that the guest had before, and the one that it has now.
  public let old: String
  public let name: String

  public init(uuid: String, old: String, name: String) { (self.uuid, self.old, self.name) = (uuid, old, name) }
}

extension EngineService {
  public func mark(_ request: MarkRequest, _ call: Call) throws -> MarkAnswer {
    let (epoch, marks) = try engine.mark(request.guest, epoch: request.epoch, request.change)
    return MarkAnswer(epoch: epoch, marks)
  }

  public func rename(_ request: RenameRequest, _ call: Call) throws -> RenameAnswer {
    let (old, uuid) = try engine.rename(request.guest, to: request.name)
    return RenameAnswer(uuid: uuid, old: old, name: request.name)
  }
}
