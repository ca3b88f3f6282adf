import CXen
import Glibc
import Synchronization

/// Bytes in one page of guest memory, everywhere.
public let pageSize = 4096

/// A run of guest frames mapped read-only into this process, in the order they were asked for.
///
/// The memory is shared with a running guest: copy first, then check the copy. A slot whose frame could not
/// be mapped is not backed and faults on access; `isMapped` tells. The mapping holds a reference on every frame,
/// so a page that the guest gives back meanwhile stays allocated until this object goes.
final class ForeignMapping: @unchecked Sendable {
  let base: UnsafeRawPointer
  let count: Int
  /// Every frame is mapped.
  let isWhole: Bool
  private let errors: [Int32]
  private let unmap: (UnsafeMutableRawPointer, Int) -> Void

  /// - Parameter frames: gfns: machine frames for PV, the guest's own for PVH (xenforeignmemory.h).
  /// - Throws: ``XenError/call(_:domain:errno:)`` when nothing could be mapped at all.
  init(_ hypervisor: Hypervisor, domain: UInt32, frames: [UInt64]) throws(XenError) {
    var errors = [Int32](repeating: 0, count: frames.count)
    let mapped = frames.withUnsafeBufferPointer { frames in
      frames.withMemoryRebound(to: xen_pfn_t.self) { frames in
        xenforeignmemory_map(
          hypervisor.foreignMemory, domain, PROT_READ, frames.count, frames.baseAddress, &errors)
      }
    }
    guard let mapped else { throw .call("mapping \(frames.count) pages", domain: domain, errno: errno) }
    base = UnsafeRawPointer(mapped)
    count = frames.count
    isWhole = errors.allSatisfy { $0 == 0 }
    self.errors = errors
    unmap = { _ = xenforeignmemory_unmap(hypervisor.foreignMemory, $0, $1) }
  }

  /// - Parameter errors: one for each page, 0 where it is mapped.
  init(base: UnsafeRawPointer, errors: [Int32], unmap: @escaping (UnsafeMutableRawPointer, Int) -> Void) {
    self.base = base
    self.errors = errors
    self.unmap = unmap
    count = errors.count
    isWhole = errors.allSatisfy { $0 == 0 }
  }

  deinit { unmap(UnsafeMutableRawPointer(mutating: base), count) }

  func isMapped(_ index: Int) -> Bool { errors[index] == 0 }

  func page(_ index: Int) -> UnsafeRawPointer { base + index * pageSize }

  /// Eight bytes as they stand at this moment, aligned. An ordinary load could be made twice by the compiler, once for a check
  /// and once for the use.
  func word(at offset: Int) -> UInt64 { ForeignMapping.word(base + offset) }

  static func word(_ address: UnsafeRawPointer) -> UInt64 {
    address.assumingMemoryBound(to: Atomic<UInt64>.self).pointee.load(ordering: .relaxed)
  }

  /// - Throws: ``XenError/guestData(domain:_:)`` when a page is not there.
  func requireAll(_ what: String, domain: UInt32) throws(XenError) {
    guard isWhole else {
      throw .guestData(domain: domain, "\(what) lies in memory that the guest does not have")
    }
  }
}

/// Mappings that nobody reads any more. Unmapping takes as long as mapping, and the suspended guest would wait for it: what
/// the pause is done with goes when the guest runs again.
final class SpentMappings: Sendable {
  private let mappings = Mutex<[any AnyObject & Sendable]>([])

  /// - Parameter mapping: a mapping, or the only owner of one.
  func add(_ mapping: some AnyObject & Sendable) { mappings.withLock { $0.append(mapping) } }

  func unmap() {
    // Outside the lock: it may take long.
    _ = mappings.withLock { mappings in
      let spent = mappings
      mappings = []
      return spent
    }
  }
}
