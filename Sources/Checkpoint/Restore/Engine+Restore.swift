public import EpochStore
import Xen

extension Engine {
  /// A restore in place that has not begun; see ``Restore``.
  public func restore(
    _ guest: String, epoch: EpochReference, options: RestoreOptions = RestoreOptions(),
    report: @escaping (String) -> Void = { _ in }
  ) throws -> Restore {
    let hypervisor = try Hypervisor()
    let folder = try folder(of: guest)
    return try Restore(
      hypervisor, XenStore(), disks: DiskHistory(patientPools(), guestUUID: folder.uuid), in: folder,
      epoch: resolve(epoch, in: folder, of: guest), options: options, report: report)
  }

  /// A clone that has not begun; see ``Clone``.
  ///
  /// - Parameter isPerformed: not only its plan is wanted. xl is loaded meanwhile, which takes as long as all that has to be found out.
  public func clone(
    _ guest: String, epoch: EpochReference, as name: String, options: RestoreOptions = RestoreOptions(),
    isPerformed: Bool, report: @escaping (String) -> Void = { _ in }
  ) throws -> Clone {
    let hypervisor = try Hypervisor()
    let restorer = isPerformed ? try XLRestore(paused: options.start == .paused) : nil
    let folder = try folder(of: guest)
    return try Clone(
      hypervisor, XenStore(), disks: Disks(patientPools()), in: folder, epoch: resolve(epoch, in: folder, of: guest),
      as: name, options: options, by: restorer, report: report)
  }

  /// A neighbour in its pause has the pool for a while: a restore waits for it before the guest's end, a clone before it makes anything.
  private func patientPools() throws -> Pools { try pools().waiting(seconds: 60) {} }
}
