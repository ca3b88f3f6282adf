import DeviceMapper
import EpochStore
import MigrationStream
import Xen

/// The documented exit statuses of the tools, and the same numbers in what the daemon answers. Thrown as it is by a command that
/// has told its reasons.
public enum ExitStatus: Int32, Error, Sendable {
  case failed = 1
  case partlyDone = 3
  case notFound = 10
  case locked = 11
  case badConfiguration = 12
  case interrupted = 130

  /// nil for an error that is not ours, such as wrong usage.
  public init?(_ error: any Error) {
    switch error {
    case let error as any ErrorWithStatus: self = error.exitStatus
    case let error as XenError: self = ExitStatus(xen: error)
    case let error as CheckpointError: self = ExitStatus(checkpoint: error)
    case let error as StoreError:
      switch error {
      case .notFound: self = .notFound
      case .locked: self = .locked
      case .policyRemovesAll: self = .badConfiguration
      case .stopped: self = .interrupted
      default: self = .failed
      }
    case let error as PoolError:
      switch error {
      case .locked: self = .locked
      case .unknown, .noDefault: self = .notFound
      default: self = .failed
      }
    case let error as DiskError:
      switch error {
      case .notInPool, .badName, .tableDiffers: self = .badConfiguration
      case .noSuchEpoch, .unknown: self = .notFound
      default: self = .failed
      }
    case let error as AdoptionError:
      switch error {
      case .noSuchDisk, .notAdopted: self = .notFound
      case .notAdoptable, .noDisks, .replaced, .isAdopted, .releasing: self = .badConfiguration
      case .inUse, .epochInUse: self = .locked
      case .originChanged, .originFaulty, .hasClones, .volumeGone: self = .failed
      }
    case is DeviceMapperError, is StreamError, is XLConfigError, is HookError, is GuardError: self = .failed
    case is Configuration.Fault: self = .badConfiguration
    default: return nil
    }
  }

  private init(xen error: XenError) {
    switch error {
    case .noXen, .notRoot, .wrongRelease, .unsupported: self = .badConfiguration
    case .noSuchDomain: self = .notFound
    case .busy: self = .locked
    default: self = .failed
    }
  }

  private init(checkpoint error: CheckpointError) {
    switch error {
    case .noEpochs, .noSuchEpoch, .nothingToUndo, .noStore: self = .notFound
    case .isDomainZero, .policyRefused, .pinned, .badName, .cannotClone: self = .badConfiguration
    case .takeRuns, .inPause, .beingSaved: self = .locked
    case .interrupted: self = .interrupted
    default: self = .failed
    }
  }
}

/// An error that knows its exit status.
public protocol ErrorWithStatus: Error {
  var exitStatus: ExitStatus { get }
}
