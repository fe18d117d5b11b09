"""`facepass bench`: how fast FacePass is beside the bare libraries that it is made of, in the same run.

Every row holds ours and bare, measured in turns (ours, bare, ours, bare ...), so that
noise of the machine hits both.
"""
