import Checkpoint
import ControlAPI
import EpochStore

/// The status in JSON.
struct StatusView: Encodable {
  struct Store: Encodable {
    let path: String
    let usedBytes, freeBytes, sizeBytes, reserveBytes: UInt64
    let quotaBytes: UInt64?

    enum CodingKeys: String, CodingKey {
      case path
      case usedBytes = "used_bytes"
      case freeBytes = "free_bytes"
      case sizeBytes = "size_bytes"
      case reserveBytes = "host_reserve_bytes"
      case quotaBytes = "quota_bytes"
    }
  }

  struct Guest: Encodable {
    let guest, uuid: String
    let domain: UInt32?
    let held: Bool
    /// nil, as bytes and failures, when the guest's folder cannot be read.
    let epochs, damaged: Int?
    let newest: Int?
    let newestTime: EpochTime?
    let pauseMs, stopMs: Double?
    let bytes: UInt64?
    let quotaBytes: UInt64?
    let failuresInRow: Int?
    let lastFailure: TakeStreak.Failure?
    let pruneProblem: String?

    enum CodingKeys: String, CodingKey {
      case guest, uuid, domain, held, epochs, damaged, newest, bytes
      case newestTime = "newest_time"
      case pauseMs = "pause_ms"
      case stopMs = "stop_ms"
      case quotaBytes = "quota_bytes"
      case failuresInRow = "failures_in_row"
      case lastFailure = "last_failure"
      case pruneProblem = "prune_problem"
    }
  }

  let host: String
  let xen: String?
  let store: Store
  /// nil when no ckptd answers.
  let service: DaemonStatus?
  /// The process that runs the schedules; nil when none does.
  let schedulerPid: Int32?
  let pools: [PoolReportView]
  let guests: [Guest]
  let recover, unknown: [String]

  enum CodingKeys: String, CodingKey {
    case host, xen, store, service, pools, guests, recover, unknown
    case schedulerPid = "scheduler_pid"
  }

  init(_ status: HostStatus, service: DaemonStatus?, scheduler: Int32?) {
    (self.service, schedulerPid) = (service, scheduler)
    (host, xen, unknown) = (status.host, status.xen, status.unknown)
    recover = status.unfinished.map(\.description) + status.recoverable
    store = Store(
      path: status.store.path, usedBytes: status.store.used, freeBytes: status.store.fileSystem.free,
      sizeBytes: status.store.fileSystem.total, reserveBytes: status.store.limits.hostReserve,
      quotaBytes: status.store.limits.storeQuota)
    pools = status.pools.map(PoolReportView.init)
    guests = status.guests.map(Guest.init)
  }
}

extension StatusView.Guest {
  fileprivate init(_ guest: HostStatus.Guest) {
    let isKnown = !guest.isUnreadable
    self.init(
      guest: guest.name, uuid: guest.uuid, domain: guest.isEnded ? nil : guest.domain, held: guest.isHeld,
      epochs: isKnown ? guest.epochs : nil, damaged: isKnown ? guest.damaged : nil, newest: guest.newest?.epoch,
      newestTime: guest.newest?.time, pauseMs: guest.newest?.pauseMs, stopMs: guest.newest?.stopMs,
      bytes: isKnown ? guest.bytes : nil, quotaBytes: guest.quota,
      failuresInRow: isKnown ? guest.streak.failures : nil, lastFailure: guest.streak.lastFailure,
      pruneProblem: guest.pruneProblem)
  }
}
