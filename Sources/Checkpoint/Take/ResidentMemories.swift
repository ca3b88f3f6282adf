import Dispatch
import EpochStore
import Glibc
import Synchronization
import Xen

/// What an engine that stays keeps of its guests between their takes: one ``TakeMemory`` each, for one take at a time.
public final class ResidentMemories: Sendable {
  private let store: String
  private let slots = Mutex<[String: Slot]>([:])
  /// Seconds after a take for which a guest's memory stays mapped. Longer would serve no take that comes soon, and what the guest's
  /// balloon gives back stays the guest's, for Xen, for as long as it is mapped here.
  private let idleSeconds: Double

  /// Unchecked: whoever borrowed the memory is the only one to touch it.
  private final class Slot: @unchecked Sendable {
    let memory = TakeMemory(isResident: true)
    var isBorrowed = true
    /// Takes that had the memory.
    var takes = 1
    /// The domains that were there when somebody looked while a take had the memory.
    var domainsSeen: Set<UInt32>?

    func belongs(toNoneOf domains: Set<UInt32>) -> Bool { memory.lastDomain.map { !domains.contains($0) } == true }
  }

  /// - Parameter store: path of the store, for messages.
  public convenience init(store: String) { self.init(store: store, idleSeconds: 60) }

  init(store: String, idleSeconds: Double) { (self.store, self.idleSeconds) = (store, idleSeconds) }

  /// The memory of a guest, made when there is none; it must be given back.
  ///
  /// - Throws: `StoreError.locked` while another take of this process has it.
  public func borrow(_ uuid: String) throws -> TakeMemory {
    try slots.withLock { slots in
      if let slot = slots[uuid] {
        guard !slot.isBorrowed else { throw StoreError.locked(path: "\(store)/\(uuid)/lock", pid: getpid()) }
        slot.isBorrowed = true
        slot.takes += 1
        return slot.memory
      }
      let slot = Slot()
      slots[uuid] = slot
      return slot.memory
    }
  }

  /// The take has ended. Lets go of a guest whose domain ended meanwhile.
  public func giveBack(_ uuid: String) {
    let (gone, mapped) = slots.withLock { slots -> (Slot?, take: Int?) in
      guard let slot = slots[uuid] else { return (nil, nil) }
      slot.isBorrowed = false
      let isDoomed = slot.domainsSeen.map(slot.belongs(toNoneOf:)) == true
      slot.domainsSeen = nil
      if isDoomed { return (slots.removeValue(forKey: uuid), nil) }
      return (nil, slot.memory.mappedDomain == nil ? nil : slot.takes)
    }
    withExtendedLifetime(gone) {}
    guard let mapped else { return }
    DispatchQueue.global().asyncAfter(deadline: .now() + idleSeconds) { [weak self] in self?.unmap(uuid, after: mapped)
    }
  }

  /// Lets go of the mapped memory of a guest that was not taken again.
  private func unmap(_ uuid: String, after take: Int) {
    let gone = slots.withLock { slots in
      guard let slot = slots[uuid], !slot.isBorrowed, slot.takes == take else { return nil as GuestImage? }
      defer { slot.memory.image = nil }
      return slot.memory.image
    }
    withExtendedLifetime(gone) {}
  }

  /// Lets go of a guest, and of its memory that is mapped, unless a take works on it.
  public func forget(_ uuid: String) {
    let gone = slots.withLock { slots in
      slots[uuid]?.isBorrowed == false ? slots.removeValue(forKey: uuid) : nil
    }
    withExtendedLifetime(gone) {}
  }

  /// Lets go of every guest whose domain is not among these, and of what is remembered of it: Xen keeps what is left of a destroyed domain for as long as
  /// anybody has its memory mapped. Of one that a take works on, as soon as that gives it back.
  public func keepOnly(_ domains: Set<UInt32>) {
    let gone = slots.withLock { slots in
      for slot in slots.values where slot.isBorrowed { slot.domainsSeen = domains }
      let gone = slots.filter { _, slot in !slot.isBorrowed && slot.belongs(toNoneOf: domains) }
      for uuid in gone.keys { slots[uuid] = nil }
      return gone
    }
    withExtendedLifetime(gone) {}
  }

  /// Guests of which something is kept.
  public var count: Int { slots.withLock { $0.count } }
}
