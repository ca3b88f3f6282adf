import Glibc

/// A take that stands still at the beginning of one phase, so that it can be broken from outside there, for real: killed, stopped,
/// its disk filled or made to fail, the host's power cut. Asked for by the environment, for tests: `CKPT_FAULT=PHASE=FOLDER`.
///
/// The take makes the file `reached` in the folder and goes on when there is a file `go` in it. In the pause the guest is held
/// meanwhile, until the pause's limit.
enum FaultPoint {
  private static let wanted = parse(getenv("CKPT_FAULT").map { String(cString: $0) } ?? "")

  static func parse(_ text: String) -> (phase: Phase, folder: String)? {
    let words = text.split(separator: "=", maxSplits: 1)
    guard words.count == 2, let phase = Phase(rawValue: String(words[0])) else { return nil }
    return (phase, String(words[1]))
  }

  static func reach(_ phase: Phase) {
    guard let wanted, wanted.phase == phase else { return }
    close(open("\(wanted.folder)/reached", O_WRONLY | O_CREAT | O_CLOEXEC, 0o600))
    while access("\(wanted.folder)/go", F_OK) != 0 { usleep(10_000) }
  }
}
