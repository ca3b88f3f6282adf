import EpochStore

/// The last look at an imported epoch: what was written is read once more, all of it, and the verdict kept. An epoch that the store's disk
/// did not keep, or that cannot be read, is taken away again.
enum ImportVerification {
  /// - Throws: ``CarryError/damagedAfterwards(guest:epoch:_:)``, `StoreError.stopped`.
  static func run(
    _ manifest: EpochManifest, in folder: GuestFolder, disks: ImportedDisks?, _ cancellation: TakeCancellation
  ) throws {
    do {
      let verifier = FolderVerifier(folder, method: .full, threads: EpochStore.processors)
      let verdict = try verifier.verify(manifest.epoch, shouldStop: { cancellation.isCancelled }).verdict
      guard verdict.isDamaged else { return }
      throw CarryError.damagedAfterwards(
        guest: manifest.guest, epoch: manifest.epoch, verdict.damage.first?.what ?? "it is damaged")
    } catch {
      // The first error is the one to report.
      _ = try? folder.remove(epochs: [manifest.epoch])
      disks?.abandon()
      throw error
    }
  }
}
