import CXen

/// One domain as the hypervisor described it at one moment.
///
/// `id` is only today's handle: domids are reused, so whoever keeps one pins the uuid as well.
public struct Domain: Sendable, Equatable {
  /// Why a domain is shut down (public/sched.h, SHUTDOWN_*).
  public enum State: Sendable, Equatable {
    case running
    /// `xl pause` holds it.
    case paused
    /// It made SCHEDOP_shutdown with SHUTDOWN_suspend: its vCPUs are parked, its memory stands still.
    case suspended
    /// Shut down for another reason (poweroff 0, reboot 1, watchdog 4, soft reset 5).
    case shutdown(reason: UInt32)
    case crashed
    case dying
  }

  public let id: UInt32
  /// The handle the toolstack gave it, as lowercase uuid text.
  public let uuid: String
  public let state: State
  /// True for PVH and HVM: Xen keeps the pfn to mfn map, the guest sees only its own frames.
  public let isTranslated: Bool
  /// Pages allocated to the domain now (`tot_pages`), in 4 KiB.
  public let pages: UInt64
  /// The most memory it may have, in KiB.
  public let maximumKiB: UInt64
  /// The highest vCPU number.
  public let highestVCPU: UInt32
  /// Machine frame of the PV shared info page.
  let sharedInfoFrame: UInt64

  init(
    id: UInt32, uuid: String, state: State, isTranslated: Bool, pages: UInt64, maximumKiB: UInt64, highestVCPU: UInt32,
    sharedInfoFrame: UInt64
  ) {
    (self.id, self.uuid, self.state, self.isTranslated) = (id, uuid, state, isTranslated)
    (self.pages, self.maximumKiB) = (pages, maximumKiB)
    (self.highestVCPU, self.sharedInfoFrame) = (highestVCPU, sharedInfoFrame)
  }

  init(_ info: xc_dominfo_t) {
    id = info.domid
    uuid = uuidText(info.handle)
    isTranslated = info.hvm == 1
    pages = UInt64(info.nr_pages)
    maximumKiB = UInt64(info.max_memkb)
    highestVCPU = info.max_vcpu_id
    sharedInfoFrame = UInt64(info.shared_info_frame)
    // xc_domain_getinfo reports a crash as crashed=1, shutdown=0.
    state =
      if info.dying == 1 {
        .dying
      } else if info.crashed == 1 {
        .crashed
      } else if info.shutdown == 1 {
        info.shutdown_reason == UInt32(SHUTDOWN_suspend) ? .suspended : .shutdown(reason: info.shutdown_reason)
      } else if info.paused == 1 {
        .paused
      } else {
        .running
      }
  }
}

/// The usual text form of a uuid's sixteen bytes.
private func uuidText(_ handle: xen_domain_handle_t) -> String {
  let digits = Array("0123456789abcdef")
  var text = ""
  withUnsafeBytes(of: handle) { bytes in
    for (index, byte) in bytes.enumerated() {
      if [4, 6, 8, 10].contains(index) { text.append("-") }
      text.append(digits[Int(byte >> 4)])
      text.append(digits[Int(byte & 15)])
    }
  }
  return text
}
