"""How the drawn faces are made: `shape` (points, skin mesh, pose), `canvas` (soft shapes, a shaded mesh), `skin` (maps
laid on the mesh), `scene` (who is painted, in what light); then `body`, `features`, `extras`, painted in this order."""
